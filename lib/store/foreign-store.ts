/** What express-session asks of a store; `all` is its only optional method used here. */
export interface ExpressStore {
  // Every such store types its sessions in its own way.
  get (id: string, callback: (error?: any, session?: any) => void): unknown
  set (id: string, session: any, callback?: (error?: any) => void): unknown
  destroy (id: string, callback?: (error?: any) => void): unknown
  all? (callback: (error?: any, sessions?: any) => void): unknown
}

/** Whether `value` is a store in the way of express-session. */
export function isExpressStore (value: unknown): value is ExpressStore {
  const store = value as Partial<ExpressStore> | null
  return typeof store === 'object' && store !== null && [store.get, store.set, store.destroy].every((method) => typeof method === 'function')
}

/** Stores of files say so of a session that is not there. */
export function absentIfNoEntry (error: unknown): null {
  if ((error as { cause?: { code?: unknown } }).cause?.code === 'ENOENT') return null
  throw error
}

/** The outcome of a call, whichever way a store gives it. */
export function promised<T> (call: (done: (error?: unknown, result?: T) => void) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    const returned = call((error, result) => error ? reject(error) : resolve(result as T))
    // Some stores give a promise besides; what it rejects with, the callback may never hear of.
    if (returned instanceof Promise) returned.catch(reject)
  })
}
