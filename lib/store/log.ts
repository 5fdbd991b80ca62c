import type { SessionStore, StoreEvents } from '../session/store.ts'

/** The part of a logger that a store's events need. */
interface Log {
  error (details: object, message: string): void
  warn (details: object, message: string): void
  info (message: string): void
}

/** Events for the operator. Sessions that end are for the application. */
type Logged = Exclude<keyof StoreEvents, 'ended'>

/** Writes a log line for each event of a store. Returns a function that stops it. */
export function logStoreEvents (log: Log, { events }: SessionStore): () => void {
  const listeners: { [Name in Logged]: (...args: StoreEvents[Name]) => void } = {
    down: (cause) => log.error({ err: cause }, 'the session store does not answer'),
    up: () => log.info('the session store answers again'),
    refused: (advice, cause) => log.error({ err: cause }, `the session store refuses what it is asked: ${advice}`),
    unreadable: (id) => {
      log.warn({ sessionId: id }, 'what is stored for a session cannot be read; treated as no session')
    }
  }
  const names = Object.keys(listeners) as Logged[]
  for (const name of names) events.on(name, listeners[name])
  return () => { for (const name of names) events.off(name, listeners[name]) }
}
