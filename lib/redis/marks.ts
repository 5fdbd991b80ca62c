import type { EndMark, EndRecord } from '../session/store.ts'

/**
 * Lua: `leaveMark` writes beside a session how it ends. Where Redis is full, the end happens and the mark does not.
 * `key`: of the mark; `value`: the session, as it is stored; `ms`: how long the mark stays; `rest`: the members of the
 * mark that the caller knows. The members:
 *
 * e when · h the hash of the secret · u the user · k 1 for a bearer token · r the reason · w the reason that the
 * application stated · o the actor
 */
export const LEAVE_MARK = `
local function leaveMark (key, value, ms, rest)
  local isRead, head = pcall(cjson.decode, string.match(value or '', '^({"s":%d+,"h":"[^\\n]*})\\n') or '')
  if not isRead then return end
  local time = redis.call('TIME')
  local user, kind = cjson.encode(head.u or cjson.null), head.k == 1 and 1 or 0
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local mark = string.format('{"e":%.0f,"h":%s,"u":%s,"k":%d,%s', now, cjson.encode(head.h), user, kind, rest)
  redis.pcall('SET', key, mark, 'PX', ms)
end`

/** Returns the arguments of a mark: how long it stays, and what the caller knows. */
export function markArgs ({ forMs, reason, statedReason, actor }: EndMark): [ms: number, rest: string] {
  return [forMs, JSON.stringify({ r: reason, w: statedReason ?? null, o: actor ?? null }).slice(1)]
}

const REASONS: readonly unknown[] = ['logout', 'revoked', 'replaced', 'evicted'] satisfies Array<EndRecord['reason']>

/** Decodes a mark. Returns `null` if it is none. */
export function decodeMark (text: string): EndRecord | null {
  try {
    const { e, h, u, k, r, w, o } = JSON.parse(text) as Record<string, unknown>
    const areTexts = [u, w, o].every((each) => each === null || typeof each === 'string')
    if (typeof e !== 'number' || typeof h !== 'string' || !areTexts || !REASONS.includes(r)) return null
    return {
      secretHash: h,
      kind: k === 1 ? 'bearer' : 'cookie',
      at: e,
      // The list has only reasons, and all of these are texts or null.
      reason: r as EndRecord['reason'],
      userId: u as string | null,
      statedReason: w as string | null,
      actor: o as string | null
    }
  } catch {
    return null
  }
}
