import { createHash } from 'node:crypto'
import type { RedisLink } from './link.ts'
import { updateScript } from './scripts.ts'

/**
 * What of a value is compared, and what becomes of its expiry: `head` compares what follows our first
 * line, the others all of it; `head` and `all` keep the expiry, `persist` takes it away, a number of
 * milliseconds sets it.
 */
export type Mode = 'head' | 'all' | 'persist' | number

/**
 * Replaces the text under a key by `change` of it, on top of whatever is there: called again when another
 * writer was faster. `textOf` a stored value is what is compared, `null` when that is no session.
 * Resolves with the text as written, or `null`, with nothing written, when there is no session.
 */
export async function compareAndSet (link: RedisLink, key: string, { seen, change, mode, textOf }: { seen: string, change: (text: string) => string | Promise<string>, mode: Mode, textOf: (stored: string) => string | null | Promise<string | null> }): Promise<string | null> {
  for (let text = seen; ;) {
    const next = await change(text)
    const reply = await link.script(updateScript, [key], createHash('sha1').update(text).digest('hex'), next, mode)
    if (reply === 1) return next
    const present = typeof reply === 'string' ? await textOf(reply) : null
    // The same again: bytes that are no text, and never will compare.
    if (present === null || present === text) return null
    text = present
  }
}
