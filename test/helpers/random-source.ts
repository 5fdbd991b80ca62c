import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'

/** What a token's secret is made of, and an Express session's id. */
const SECRET_BYTES = 24

/** Puts another random source in the place of Node's, for everybody in this process. Returns what takes it back. */
export function replaceRandomSource (source: (size: number) => Buffer): () => void {
  const { randomBytes } = crypto
  // Node's has two forms; with a callback it is only ours to pass on.
  crypto.randomBytes = ((size: number, callback?: (error: Error | null, bytes: Buffer) => void) => {
    if (callback === undefined) return source(size)
    let bytes: Buffer
    try {
      bytes = source(size)
    } catch (error) {
      process.nextTick(callback, error)
      return
    }
    process.nextTick(callback, null, bytes)
  }) as typeof randomBytes
  syncBuiltinESMExports()
  return () => {
    crypto.randomBytes = randomBytes
    syncBuiltinESMExports()
  }
}

/** Tells of every secret that is drawn, as tokens carry it. */
export function watchRandomSource (tell: (secret: string) => void): void {
  const { randomBytes } = crypto
  replaceRandomSource((size) => {
    const bytes = randomBytes(size)
    if (size === SECRET_BYTES) tell(bytes.toString('base64url'))
    return bytes
  })
}

/** Of a token the half that proves it; an Express session's id is all of it. */
export function secretOf (token: string): string {
  return token.slice(token.indexOf('.') + 1)
}
