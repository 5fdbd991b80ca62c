import t from 'tap'
import { liveBytes } from '../../bench/numbers.ts'
import { RecentRecords } from '../../lib/near/records.ts'
import { decode, encode } from '../../lib/store/codec.ts'
import { record } from '../helpers/record.ts'

const SESSIONS = 12_000
/** What one session may take. */
const MOST_BYTES = 600

t.test('a session that is kept takes no more memory than its own text needs, whatever header and answer it came from', async (t) => {
  const recent = new RecentRecords(SESSIONS)
  const keep = (number: number): void => {
    const userId = `user-${String(number).padStart(5, '0')}`
    const { id, ...others } = record({ userId, ip: '203.0.113.7', userAgent: 'Firefox 131 on Windows', data: JSON.stringify({ userId }) })
    // What comes over the network is one text, of which ids and data are parts.
    const header = Buffer.from(`sid=${id}; ${'x'.repeat(2_000)}`).toString()
    const stored = Buffer.from(encode({ id, ...others })).toString()
    const read = decode(header.slice(4, 26), stored)
    if (read === null) throw new Error('it is not read')
    recent.set(read, performance.now())
  }
  // What grows once has grown in the first of them. What else this process does comes on top.
  const bytes = Math.min(...Array.from({ length: 4 }, () => {
    recent.clear()
    const before = liveBytes()
    for (let number = 0; number < SESSIONS; number++) keep(number)
    return (liveBytes() - before) / SESSIONS
  }))
  t.equal(recent.length, SESSIONS)
  t.ok(bytes <= MOST_BYTES, `${Math.round(bytes)} bytes`)
})
