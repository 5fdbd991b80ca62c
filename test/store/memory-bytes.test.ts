import t from 'tap'
import { liveBytes } from '../../bench/numbers.ts'
import { newRecord } from '../../lib/session/new-record.ts'
import { newId, newToken } from '../../lib/session/token.ts'
import { MemoryStore } from '../../lib/store/memory.ts'
import { HOUR } from '../helpers/record.ts'

const SESSIONS = 12_000
const PER_USER = 3
/** What one session may take. */
const MOST_BYTES = 700

t.test('a session in a MemoryStore takes no more memory than it must', async (t) => {
  const store = new MemoryStore()
  const before = liveBytes()
  for (let number = 0; number < SESSIONS; number++) {
    const id = newId()
    const userId = `user-${String(Math.floor(number / PER_USER)).padStart(5, '0')}`
    const session = { userId, data: JSON.stringify({ userId }), ip: '203.0.113.7', replaces: null }
    await store.begin(newRecord(session, { id, secretHash: newToken(id).secretHash, now: Date.now(), idleTimeoutMs: HOUR, absoluteTimeoutMs: 24 * HOUR, maxDataSize: 1_000 }))
  }
  const bytes = (liveBytes() - before) / SESSIONS
  t.equal((await store.listByUser('user-00000')).length, PER_USER)
  t.ok(bytes <= MOST_BYTES, `${Math.round(bytes)} bytes`)
})
