import * as argon2 from '@node-rs/argon2'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import { freePort, root, startProgram } from '../../test/helpers/process.ts'
import { startRedis, until } from '../../test/helpers/redis.ts'
import type { TestRedis } from '../../test/helpers/redis.ts'

interface User { id: string, username: string, passwordHash: string }
type BuildApp = (options: { redis: string, users: Map<string, User> }) => Promise<FastifyInstance>

interface Server {
  url: string
  redis: TestRedis
  users: Map<string, User>
}

interface Answer {
  status: number
  /** The reply's `Set-Cookie`, if it has one. */
  setCookie: string | null
  text: string
  data: Record<string, unknown> | null
  /** `extensions.code` of every error. */
  codes: unknown[]
}

const ME = '{ me { username } }'
const VIEWER = '{ viewer { username } }'
const LOGOUT = 'mutation { logout }'
const signIn = (field: 'register' | 'login', username: string, password: string) =>
  `mutation { ${field}(username: "${username}", password: "${password}") { id username } }`

const NOBODY = { me: null }
const ADA = { me: { username: 'ada' } }

/** What both examples of GraphQL have to do, over real HTTP and with a real Redis. */
export function testGraphQL (t: Test, file: string, buildApp: BuildApp): void {
  t.test('ada registers and is signed in by the cookie of that reply, in her browser only', async (t) => {
    const server = await startServer(t, buildApp)
    const ada = new Browser(server)
    const { status, data, setCookie } = await ada.send(signIn('register', 'ada', 'lovelace'))
    t.equal(status, 200)
    t.same(data, { register: { id: server.users.get('ada')?.id, username: 'ada' } })
    t.match(setCookie, /^sid=[\w-]{22}\.[\w.-]+; .*HttpOnly; SameSite=Lax$/)
    t.same((await ada.send(ME)).data, ADA)
    t.same((await ada.send(VIEWER)).data, { viewer: { username: 'ada' } })
    t.same((await new Browser(server).send(ME)).data, NOBODY)
  })

  t.test('to a visitor `me` is null and no error, what needs a sign-in says so by its code, and neither sets a cookie', async (t) => {
    const visitor = new Browser(await startServer(t, buildApp))
    const [me, viewer] = [await visitor.send(ME), await visitor.send(VIEWER)]
    t.same([me.status, me.data, me.codes, me.setCookie], [200, NOBODY, [], null])
    t.same([viewer.data, viewer.codes, viewer.setCookie], [null, ['ERR_SESSION_UNAUTHENTICATED'], null])
  })

  t.test('ada signs out: her cookie is taken back and worthless, and bob stays', async (t) => {
    const server = await startServer(t, buildApp)
    const [ada, bob] = [new Browser(server), new Browser(server)]
    await ada.send(signIn('register', 'ada', 'lovelace'))
    await bob.send(signIn('register', 'bob', 'fixes-it'))
    const kept = new Browser(server, ada.cookie)
    t.same((await kept.send(ME)).data, ADA)
    const { data, setCookie } = await ada.send(LOGOUT)
    t.same(data, { logout: true })
    t.match(setCookie, /^sid=; Max-Age=0;/)
    t.equal(ada.cookie, '')
    t.same((await kept.send(ME)).data, NOBODY)
    t.same((await kept.send(VIEWER)).codes, ['ERR_SESSION_UNAUTHENTICATED'])
    t.same((await bob.send(ME)).data, { me: { username: 'bob' } })
    t.same((await ada.send(LOGOUT)).data, { logout: true }, 'nobody signed in: nothing happens')
  })

  t.test('signing in again gives a new session and ends the one before', async (t) => {
    const server = await startServer(t, buildApp)
    const ada = new Browser(server)
    await ada.send(signIn('register', 'ada', 'lovelace'))
    const before = new Browser(server, ada.cookie)
    const { data } = await ada.send(signIn('login', 'ada', 'lovelace'))
    t.match(data, { login: { username: 'ada' } })
    t.not(idOf(ada.cookie), idOf(before.cookie))
    t.same((await ada.send(ME)).data, ADA)
    t.same((await before.send(ME)).data, NOBODY)
    t.same(await server.redis.client.keys('sess:*'), [`sess:${idOf(ada.cookie)}`])
  })

  t.test('a wrong password and an unknown name get the same answer, to the byte, and no cookie', async (t) => {
    const server = await startServer(t, buildApp)
    await new Browser(server).send(signIn('register', 'ada', 'lovelace'))
    const sessions = await server.redis.client.keys('sess:*')
    const mallory = new Browser(server)
    const wrong = await mallory.send(signIn('login', 'ada', 'builders'))
    const unknown = await mallory.send(signIn('login', 'bob', 'builders'))
    t.same(wrong.codes, ['INVALID_CREDENTIALS'])
    t.same(unknown, wrong)
    t.equal(wrong.setCookie, null)
    t.same(await server.redis.client.keys('sess:*'), sessions)
  })

  t.test('who guesses too often is not listened to any more, and hears so by its code', async (t) => {
    const server = await startServer(t, buildApp)
    await new Browser(server).send(signIn('register', 'ada', 'lovelace'))
    const mallory = new Browser(server)
    for (let guess = 0; guess < 10; guess++) t.same((await mallory.send(signIn('login', 'ada', `wrong ${guess}`))).codes, ['INVALID_CREDENTIALS'])
    for (const password of ['wrong', 'lovelace']) t.same((await mallory.send(signIn('login', 'ada', password))).codes, ['ERR_SESSION_TOO_MANY_ATTEMPTS'])
  })

  t.test('an unknown name costs as much as a wrong password: one hash compared, of the same cost', async (t) => {
    const compared: string[] = []
    const verify = async (hash: string, password: string) => {
      compared.push(hash)
      return await argon2.verify(hash, password)
    }
    const mocked = await t.mockImport<{ buildApp: BuildApp }>(`../../${file}`, { '@node-rs/argon2': { ...argon2, verify } })
    const server = await startServer(t, mocked.buildApp)
    const mallory = new Browser(server)
    await new Browser(server).send(signIn('register', 'ada', 'lovelace'))
    await mallory.send(signIn('login', 'ada', 'builders'))
    await mallory.send(signIn('login', 'bob', 'builders'))
    t.equal(compared.length, 2)
    t.equal(costOf(compared[1]), costOf(compared[0]))
  })

  t.test('of two who register one name at once one gets it, and the password stays that one\'s', async (t) => {
    const server = await startServer(t, buildApp)
    const browsers = [new Browser(server), new Browser(server)]
    const passwords = ['lovelace', 'builders']
    const answers = await Promise.all(browsers.map((browser, index) => browser.send(signIn('register', 'ada', passwords[index] ?? ''))))
    const winner = answers.findIndex(({ codes }) => codes.length === 0)
    t.same(answers[1 - winner]?.codes, ['USERNAME_TAKEN'])
    t.equal(answers[1 - winner]?.setCookie, null)
    t.same((await new Browser(server).send(signIn('login', 'ada', passwords[1 - winner] ?? ''))).codes, ['INVALID_CREDENTIALS'])
    t.same((await new Browser(server).send(signIn('login', 'ada', passwords[winner] ?? ''))).codes, [])
  })

  t.test('names and passwords that are too short, too long or odd are refused', async (t) => {
    const server = await startServer(t, buildApp)
    const mallory = new Browser(server)
    for (const [username, password] of [['ad', 'lovelace'], ['a'.repeat(33), 'lovelace'], ['Ada', 'lovelace'], ['ada ', 'lovelace'], ['ada', 'lovelac'], ['ada', 'x'.repeat(129)]] as const) {
      const { codes, setCookie } = await mallory.send(signIn('register', username, password))
      t.same(codes, ['BAD_USER_INPUT'], `${username} ${password}`)
      t.equal(setCookie, null)
    }
    t.equal(server.users.size, 0)
  })

  t.test('the password is nowhere: an argon2id hash with the user, neither of them in Redis', async (t) => {
    const server = await startServer(t, buildApp)
    await new Browser(server).send(signIn('register', 'ada', 'lovelace'))
    const hash = server.users.get('ada')?.passwordHash ?? ''
    t.match(hash, /^\$argon2id\$/)
    t.notMatch(JSON.stringify([...server.users.values()]), 'lovelace')
    const keys = await server.redis.client.keys('*')
    const contents = await Promise.all(keys.map(async (key) => Buffer.from(await server.redis.client.dump(key) ?? '').toString('latin1')))
    t.ok(keys.length > 0)
    t.notMatch(contents.join(), 'lovelace')
    t.notMatch(contents.join(), hash)
  })

  t.test('a page of another site can neither act with ada\'s cookie nor sign her browser in', async (t) => {
    const server = await startServer(t, buildApp)
    const ada = new Browser(server)
    await ada.send(signIn('register', 'ada', 'lovelace'))
    const crossSite = { 'sec-fetch-site': 'cross-site', origin: 'https://mallory.example' }
    const logout = await ada.send(LOGOUT, crossSite)
    t.equal(logout.status, 403)
    t.match(logout.text, 'ERR_SESSION_CSRF_REJECTED')
    t.same((await ada.send(ME)).data, ADA)
    const login = await new Browser(server).send(signIn('login', 'ada', 'lovelace'), crossSite)
    t.same(login.codes, ['ERR_SESSION_CSRF_REJECTED'])
    t.equal(login.setCookie, null)
  })

  t.test('a link, which is a GET, changes nothing', async (t) => {
    const server = await startServer(t, buildApp)
    const ada = new Browser(server)
    await ada.send(signIn('register', 'ada', 'lovelace'))
    const query = new URLSearchParams({ query: LOGOUT })
    const response = await fetch(`${server.url}?${query}`, { headers: { cookie: ada.cookie, 'sec-fetch-site': 'cross-site' } })
    t.ok(response.status >= 400)
    t.equal(response.headers.get('set-cookie'), null)
    t.same((await ada.send(ME)).data, ADA)
  })

  t.test('mutations of one request run one after the other: the last one counts', async (t) => {
    const server = await startServer(t, buildApp)
    const ada = new Browser(server)
    await ada.send(signIn('register', 'ada', 'lovelace'))
    const login = 'login(username: "ada", password: "lovelace") { id }'
    t.match((await ada.send(`mutation { logout ${login} }`)).setCookie, /^sid=[\w-]{22}\./)
    t.same((await ada.send(ME)).data, ADA)
    t.match((await ada.send(`mutation { ${login} logout }`)).setCookie, /^sid=; Max-Age=0;/)
    t.same((await ada.send(ME)).data, NOBODY)
    t.same((await server.redis.client.keys('*')).filter((key) => !key.startsWith('@sess:tries:')), [])
  })

  t.test('run by hand it says where it listens, and works without a Redis', async (t) => {
    const port = await freePort()
    const { output } = await startProgram(t, `${root}${file}`, port, { NODE_ENV: 'development', REDIS_URL: undefined, SESSION_SECRET: undefined })
    await until('the line it prints', () => new RegExp(`^GraphQL at http://\\S+:${port}/graphql$`, 'm').test(output()))
    const ada = new Browser({ url: `http://127.0.0.1:${port}/graphql` })
    await ada.send(signIn('register', 'ada', 'lovelace'))
    t.same((await ada.send(ME)).data, ADA)
  })
}

/** The example on a port and a Redis of its own. */
async function startServer (t: Test, buildApp: BuildApp): Promise<Server> {
  const redis = await startRedis(t)
  const users = new Map<string, User>()
  const app = await buildApp({ redis: redis.url, users })
  t.teardown(async () => await app.close())
  return { url: `${await app.listen({ host: '127.0.0.1', port: 0 })}/graphql`, redis, users }
}

/** A person's browser: keeps the one cookie there is. */
class Browser {
  cookie: string
  readonly #url: string

  constructor ({ url }: Pick<Server, 'url'>, cookie = '') {
    this.#url = url
    this.cookie = cookie
  }

  async send (query: string, headers: Record<string, string> = {}): Promise<Answer> {
    const response = await fetch(this.#url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...this.cookie !== '' && { cookie: this.cookie }, ...headers },
      body: JSON.stringify({ query })
    })
    const setCookie = response.headers.get('set-cookie')
    if (setCookie !== null) this.cookie = /; max-age=0(;|$)/i.test(setCookie) ? '' : setCookie.split(';')[0] ?? ''
    const text = await response.text()
    const { data = null, errors = [] } = JSON.parse(text) as { data?: Answer['data'], errors?: Array<{ extensions?: { code?: unknown } }> }
    return { status: response.status, setCookie, text, data, codes: errors.map(({ extensions }) => extensions?.code) }
  }
}

/** The public id in a cookie. */
function idOf (cookie: string): string | undefined {
  return /^sid=([^.]+)\./.exec(cookie)?.[1]
}

/** The algorithm and the parameters of a hash: `$argon2id$v=19$m=19456,t=2,p=1`. */
function costOf (hash = ''): string {
  return hash.split('$').slice(0, 4).join('$')
}
