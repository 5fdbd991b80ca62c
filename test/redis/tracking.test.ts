import { Redis } from 'ioredis'
import t from 'tap'
import type { Test } from 'tap'
import { TrackingLine } from '../../lib/redis/tracking.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'

const redis = await startRedis(t)

/** A line beside a connection whose `INFO` answers as the test says, and what becomes of it. */
async function open (t: Test, info: (asked: number) => Promise<string>) {
  // The driver would ask INFO itself.
  const data = new Redis(redis.url, { enableReadyCheck: false })
  t.teardown(() => data.disconnect())
  let asked = 0
  data.info = async () => await info(asked++)
  const refused: string[] = []
  const line: TrackingLine = new TrackingLine(data, { prefix: prefix(), silenceMs: 1_000, onKeys: () => {}, onTrust: () => {}, onGap: () => {}, onRefused: ({ message }) => refused.push(message) })
  t.teardown(() => line.close())
  return { line, refused, asked: () => asked }
}

function reply (message: string): Error {
  return Object.assign(new Error(message), { name: 'ReplyError' })
}

t.test('a Redis that is busy for a moment is asked again, and is no refusal', async (t) => {
  const { line, refused } = await open(t, async (asked) => {
    if (asked < 2) throw reply('BUSY Redis is busy running a script.')
    return await redis.client.info('server')
  })
  await until('the line', () => line.trustedUntil > 0)
  t.strictSame(refused, [])
})

t.test('where nobody can tell that it is the server that is read from, nothing is heard', async (t) => {
  const { line, refused } = await open(t, async () => '# Server\r\nredis_version:7.0.0\r\n')
  await until('the refusal', () => refused.length > 0)
  t.match(refused[0], 'run_id')
  t.equal(line.trustedUntil, 0)
})

t.test('what Redis refuses is told, and not asked again and again', async (t) => {
  const { line, refused, asked } = await open(t, async () => { throw reply('NOPERM this user has no permissions to run the \'info\' command') })
  await until('the refusal', () => refused.length > 0)
  t.equal(line.trustedUntil, 0)
  t.equal(asked(), 1)
})
