import { errors } from '../errors.ts'

/** What Redis repeats of a command that it does not know. */
const ARGUMENTS = /, with args beginning with:.*/

/**
 * The driver's errors carry the command they are about, and some Redis' own words repeat it: the password of AUTH,
 * the session of SET. They end up in logs.
 */
export function withoutCommand<T> (error: T): T {
  if (typeof error !== 'object' || error === null) return error
  delete (error as { command?: unknown }).command
  // Of a Cluster of which no node would have us: why not the last.
  withoutCommand((error as { lastNodeError?: unknown }).lastNodeError)
  if (isReply(error) && ARGUMENTS.test(error.message)) {
    error.message = error.message.replace(ARGUMENTS, '')
    error.stack = `${error.stack}`.replace(ARGUMENTS, '')
  }
  return error
}

/** Whether a driver error says that what lies under the key is of another type than a session. */
export function isWrongType (error: unknown): boolean {
  return replyOf((error as { cause?: unknown } | null)?.cause).startsWith('WRONGTYPE')
}

/** The text of an error that Redis itself answered, else ''. */
export function replyOf (error: unknown): string {
  return isReply(error) ? error.message : ''
}

export function isReply (error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError'
}

/** The driver's own errors: no connection, lost while waiting, no node known. A programming error is none, nor what was looked into already. */
export function isOutage (error: unknown): boolean {
  if (isReply(error)) return /^(LOADING|CLUSTERDOWN|MASTERDOWN) /.test(error.message)
  return error instanceof Error && !(error instanceof TypeError) && !(error instanceof RangeError) && !(error instanceof errors.STORE_UNAVAILABLE)
}

/** A refusal at connecting that waiting does not mend. After that of a database the driver would go on with database 0. */
export function isRefusal (error: unknown): boolean {
  return /^(WRONGPASS|NOAUTH|NOPERM|ERR AUTH|ERR invalid password|ERR Client sent AUTH|ERR DB index|ERR invalid DB|ERR SELECT)/.test(replyOf(error))
}
