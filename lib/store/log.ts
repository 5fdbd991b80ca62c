import type { SessionStore, StoreEvents } from '../session/store.ts'

/** As much of a logger as a store's events need. */
interface Log {
  error (details: object, message: string): void
  warn (details: object, message: string): void
  info (message: string): void
}

/** What an operator wants to know; sessions that end are told as events. */
type Told = Exclude<keyof StoreEvents, 'ended'>

/** One log line for each event of a store. Returns what stops it. */
export function logStoreEvents (log: Log, { events }: SessionStore): () => void {
  const listeners: { [Name in Told]: (...args: StoreEvents[Name]) => void } = {
    down: (cause) => log.error({ err: cause }, 'the session store does not answer'),
    up: () => log.info('the session store answers again'),
    refused: (advice, cause) => log.error({ err: cause }, `the session store refuses what it is asked: ${advice}`),
    unreadable: (id) => log.warn({ sessionId: id }, 'what is stored for a session cannot be read; treated as no session')
  }
  const names = Object.keys(listeners) as Told[]
  for (const name of names) events.on(name, listeners[name])
  return () => { for (const name of names) events.off(name, listeners[name]) }
}
