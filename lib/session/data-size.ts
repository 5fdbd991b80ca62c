import { errors } from '../errors.ts'

/** More bytes of UTF-8 than a character of JavaScript's takes. */
const MOST_BYTES = 3

/**
 * Data that is to be stored.
 * @throws ERR_SESSION_DATA_TOO_LARGE when it is larger than `max` bytes, and than what it takes the place of
 */
export function fitting (data: string, before: string | undefined, max: number): string {
  if (!fits(data, before, max)) throw new errors.DATA_TOO_LARGE()
  return data
}

/** A change that is refused, as `fitting` does, where what comes of it is too large. */
export function fittingChange (change: (data: string) => string, max: number): (data: string) => string {
  return (present) => fitting(change(present), present, max)
}

/**
 * What a new session carries over of the one that it replaces. That has ended by then and nothing can be refused any
 * more: where what others changed in it last does not fit beside the new session's own data, that alone is kept.
 */
export function fittingCarry (carry: ((ended: string) => string) | undefined, own: string, max: number): ((ended: string) => string) | undefined {
  return carry && ((ended) => {
    const carried = carry(ended)
    return fits(carried, ended, max) ? carried : own
  })
}

/** Data that was there before there was a limit may stay as large as it is, and shrink. */
function fits (data: string, before: string | undefined, max: number): boolean {
  if (data.length * MOST_BYTES <= max) return true
  const bytes = Buffer.byteLength(data)
  return bytes <= max || (before !== undefined && bytes <= Buffer.byteLength(before))
}
