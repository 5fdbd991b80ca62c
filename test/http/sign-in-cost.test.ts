import t from 'tap'
import type { Test } from 'tap'
import { authRoutes, RedisStore } from '../../lib/index.ts'
import type { SessionOptions } from '../../lib/index.ts'
import { connect, disconnectNow } from '../../lib/redis/connection.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { proxied } from '../helpers/proxied.ts'
import { prefix, startRedis, until } from '../helpers/redis.ts'
import { Rounds } from '../helpers/rounds.ts'

const redis = await startRedis(t)

const idp = { issuer: 'https://idp.example', sid: 'a session there' }

/** Everything that makes a sign-in dearer. */
const EVERYTHING: Partial<SessionOptions> = { maxSessionsPerUser: 2, endedFor: '1h' }

/** An application whose sign-ins are counted in rounds. */
async function start (t: Test, { options = {}, isProxied = false }: { options?: Partial<SessionOptions>, isProxied?: boolean } = {}) {
  const { client } = connect(redis.url)
  if ('nodes' in client) throw new Error('a Cluster')
  await until('the connection', () => client.status === 'ready')
  const rounds = new Rounds(client)
  const store = new RedisStore({ client: isProxied ? proxied(client) : client, prefix: prefix() })
  const app = await startApp(t, { store, ...options })
  t.teardown(async () => {
    await app.close()
    await store.close()
    disconnectNow(client)
  })
  await app.register(authRoutes, {
    verify: ({ username, password }) => password === 'lovelace' ? { id: username } : null,
    onLogin: () => options.endedFor === undefined ? {} : { idp }
  })
  /** How often one waits for Redis for a sign-in. */
  const signIn = async (username: string, browser = new Browser(app)): Promise<{ browser: Browser, waits: string[][] }> => {
    const waits = await rounds.during(async () => {
      const { statusCode } = await browser.post('/login', { username, password: 'lovelace' })
      if (statusCode !== 200) throw new Error(`login answered ${statusCode}`)
    })
    return { browser, waits }
  }
  // The scripts are known to Redis from then on.
  const { browser } = await signIn('bob')
  await signIn('bob', browser)
  await signIn('bob')
  await signIn('bob')
  return { signIn }
}

for (const [name, options] of [['', {}], [', with all that makes it dearer', EVERYTHING]] as const) {
  t.test(`a sign-in with counted attempts waits for Redis three times at the most${name}`, async (t) => {
    const { signIn } = await start(t, { options })
    const first = await signIn('ada')
    t.strictSame(first.waits[0], ['evalsha'], 'the attempt is counted')
    t.strictSame(first.waits[1]?.slice(0, 2), ['evalsha', 'evalsha'], 'its counters are cleared while the session begins')
    t.equal(first.waits.length, 2)
    const again = await signIn('ada', first.browser)
    t.equal(again.waits[0]?.[0], 'mget', 'the session before it is read')
    t.equal(again.waits.length, 3)
    t.ok((await signIn('carol', again.browser)).waits.length <= 3, 'who signs in as somebody else')
    for (let login = 0; login < 3; login++) t.ok((await signIn('dave')).waits.length <= 2, 'also where one has to end for it')
  })
}

t.test('behind a proxy of a Cluster it waits as often as in one', async (t) => {
  const { signIn } = await start(t, { isProxied: true })
  const first = await signIn('ada')
  t.ok(first.waits.length > 3, `${first.waits.length}`)
  t.equal((await signIn('ada', first.browser)).waits.length, first.waits.length + 2, 'and the session before it is read and ended')
})
