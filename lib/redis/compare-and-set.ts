import { createHash } from 'node:crypto'
import { script } from './link.ts'
import type { RedisLink } from './link.ts'

/**
 * How a value is compared, and its time to live afterwards: `head` compares the data behind our first line, the others
 * all of the value. `head` and `all` keep the time to live, `persist` removes it, a number of milliseconds sets it.
 */
type Mode = 'head' | 'all' | 'persist' | number

/**
 * KEYS  session
 * ARGV  sha1 of the data the change was made on · the new data · 'head', 'all', 'persist' or a time to live in ms
 * Returns 1 written · 0 absent · the present value, when its data is not what the change was made on
 *
 * With 'head' it is a session of ours, and its data what follows the first line; else one of
 * express-session, and data all of it. 'head' and 'all' keep the time to live.
 */
export const updateScript = script<1 | 0 | string>(1, `
local present = redis.call('GET', KEYS[1])
if not present then return 0 end
local head = ARGV[3] ~= 'head' and '' or string.match(present, '^{"s":%d+,"h":"[^\\n]*}\\n')
if not head then return 0 end
if redis.sha1hex(string.sub(present, #head + 1)) ~= ARGV[1] then return present end
local value = head .. ARGV[2]
if ARGV[3] == 'head' or ARGV[3] == 'all' then redis.call('SET', KEYS[1], value, 'KEEPTTL')
elseif ARGV[3] == 'persist' then redis.call('SET', KEYS[1], value)
else redis.call('SET', KEYS[1], value, 'PX', ARGV[3]) end
return 1`)

interface ComparedChange {
  /** The text as it was last seen. */
  readonly seen: string
  /** Makes the new text. Called again when another writer was faster. */
  readonly change: (text: string) => string | Promise<string>
  readonly mode: Mode
  /** Returns the text of a stored value that is compared; `null` when that is no session. */
  readonly textOf: (stored: string) => string | null | Promise<string | null>
}

/**
 * Replaces the text under a key by `change` of it, on top of what is there. Resolves with the text as written, or
 * `null`, with nothing written, when there is no session.
 */
export async function compareAndSet (
  link: RedisLink, key: string, { seen, change, mode, textOf }: ComparedChange
): Promise<string | null> {
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
