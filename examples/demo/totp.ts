// The six digits that authenticator apps show: RFC 6238 with its defaults.
import { createHmac, timingSafeEqual } from 'node:crypto'

const STEP_MS = 30_000

/** Returns the number of the time step at an instant. */
function stepAt (time = Date.now()): number {
  return Math.floor(time / STEP_MS)
}

/** Returns the code of a time step. */
export function codeOf (secret: Buffer, step = stepAt()): string {
  const counter = Buffer.alloc(8)
  counter.writeBigUInt64BE(BigInt(step))
  const mac = createHmac('sha1', secret).update(counter).digest()
  const offset = mac.readUInt8(19) & 15
  return String((mac.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, '0')
}

/** Returns the step whose code this is, of the present one and the one before. Else `null`. */
export function stepOf (secret: Buffer, code: string): number | null {
  const typed = Buffer.from(code)
  const isCodeOf = (step: number): boolean => {
    const right = Buffer.from(codeOf(secret, step))
    return typed.length === right.length && timingSafeEqual(typed, right)
  }
  const now = stepAt()
  return [now, now - 1].find(isCodeOf) ?? null
}
