import t from 'tap'
import { decode } from '../../lib/store/codec.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { commandsDuring } from '../helpers/redis-commands.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'

/*
 * What Redis is asked where forks are noticed: nothing more than without.
 */

const redis = await startRedis(t)
const MINUTE = 60_000
/** Of connections that are kept alive, and of events, which other processes are told of in their own time. */
const ALIVE = ['ping', 'publish']

for (const nearCache of [false, true, { invalidate: 'ends' as const }]) {
  t.test(`a use that is written down is as many commands as without, near-cache: ${JSON.stringify(nearCache)}`, async (t) => {
    const counts: unknown[] = []
    for (const forkDetection of [false, true]) {
      const keyPrefix = prefix()
      const app = await startApp(t, { redis: redis.url, keyPrefix, nearCache, forkDetection, idleTimeout: '1h' })
      app.post('/login', async (request) => await app.login(request, { id: 'ada' }))
      app.get('/me', { preHandler: app.authenticate }, async () => ({}))
      const browser = new Browser(app)
      const { id } = (await browser.post('/login')).json()
      const key = keyPrefix + id
      /** As if it had not been used for a while. */
      const age = async (): Promise<number> => {
        const stored = await redis.client.get(key) ?? ''
        const seen = Number(stored.slice(5, 18)) - 10 * MINUTE
        await redis.client.set(key, `{"s":${seen}${stored.slice(18)}`.replace(/("f":"[\w-]{12} \d+ \d+) [0-9a-z]+"/, '$1 1"'), 'KEEPTTL')
        return seen
      }
      const seen = async (): Promise<number> => decode(id, await redis.client.get(key) ?? '')?.lastSeenAt ?? 0
      // A script is known to Redis from its first run on, and a session has a twin from its first use on.
      for (let use = 0; use < 3; use++) {
        const agedTo = await age()
        const asked = async (): Promise<void> => {
          await until('the use to be written down', async () => {
            await browser.get('/me')
            return await seen() > agedTo
          })
        }
        const commands = await commandsDuring(redis.client, nearCache === false ? async () => { await browser.get('/me') } : asked)
        if (use === 2 && nearCache === false) counts.push(Object.fromEntries(Object.entries(commands).filter(([name]) => !ALIVE.includes(name))))
        t.ok(await seen() > agedTo)
      }
      t.match(decode(id, await redis.client.get(key) ?? '')?.twin ?? null, forkDetection ? /^[\w-]{12} 2 3 [0-9a-z]+$/ : null)
      t.equal(browser.cookies.get('sid-twin')?.split('.')[0], forkDetection ? '3' : undefined)
    }
    t.strictSame(counts[1], counts[0])
  })
}
