import passport from '@fastify/passport'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import type { TestResponse } from '../helpers/app.ts'

interface Person { id: number, name: string }

const PEOPLE: Person[] = [{ id: 42, name: 'ada' }, { id: 7, name: 'bob' }]

/** Takes people at their word. */
class ByName extends passport.Strategy {
  override authenticate ({ body }: FastifyRequest): void {
    const person = PEOPLE.find(({ name }) => name === (body as { name?: string }).name)
    if (person === undefined) this.fail('nobody', 401)
    else this.success(person)
  }
}

/** Passport as its README registers it, with nothing of ours but `userIdFrom`. */
async function startPassport (t: Test, options: ConstructorParameters<typeof passport.Authenticator>[0] = {}, login: { keepSessionInfo?: boolean } = {}): Promise<FastifyInstance & { people: Map<number, Person> }> {
  const app = await startApp(t, { userIdFrom: (data) => data.passport })
  const people = new Map(PEOPLE.map((person) => [person.id, person]))
  const fastifyPassport = new passport.Authenticator(options)
  await app.register(fastifyPassport.initialize())
  await app.register(fastifyPassport.secureSession())
  fastifyPassport.use(new ByName('by-name'))
  fastifyPassport.registerUserSerializer(async ({ id }: Person) => id)
  fastifyPassport.registerUserDeserializer(async (id: number) => people.get(id) ?? null)

  app.post('/login', { preValidation: fastifyPassport.authenticate('by-name', { authInfo: false, ...login }) }, async () => 'welcome')
  app.post('/form', { preValidation: fastifyPassport.authenticate('by-name', { authInfo: false, successRedirect: '/me', failureRedirect: '/form', failureMessage: true }) }, async () => '')
  app.post('/logout', async (request) => { await request.logout() })
  app.post('/keep', async ({ session, body }) => { Object.assign(session, body) })
  app.get('/me', async ({ user = null, auth, session }) => ({ user, userId: auth?.userId ?? null, data: session }))
  app.get('/members', { preHandler: app.authenticate }, async ({ auth }) => `hello ${auth?.userId}`)
  return Object.assign(app, { people })
}

/** A browser with the cookies that another has now. */
function copyOf (app: FastifyInstance, browser: Browser): Browser {
  const copy = new Browser(app)
  for (const [name, value] of browser.cookies) copy.cookies.set(name, value)
  return copy
}

async function login (browser: Browser, name: string): Promise<TestResponse> {
  return await browser.post('/login', { name })
}

t.test('whom a strategy lets in is signed in, for passport and for us', async (t) => {
  const app = await startPassport(t)
  const ada = new Browser(app)
  t.equal((await login(ada, 'ada')).body, 'welcome')
  t.strictSame((await ada.get('/me')).json(), { user: { id: 42, name: 'ada' }, userId: '42', data: { passport: 42 } })
  t.equal((await ada.get('/members')).body, 'hello 42')
  t.strictSame((await new Browser(app).get('/me')).json(), { user: null, userId: null, data: {} })
})

t.test('whom it does not let in is not, and gets no cookie', async (t) => {
  const app = await startPassport(t)
  const mallory = new Browser(app)
  const response = await login(mallory, 'mallory')
  t.strictSame([response.statusCode, response.setCookies], [401, []])
  t.equal((await mallory.get('/members')).statusCode, 401)
})

t.test('redirects of passport carry the session along', async (t) => {
  const app = await startPassport(t)
  const ada = new Browser(app)
  t.equal((await ada.post('/form', { name: 'adam' })).headers.location, '/form')
  t.strictSame((await ada.get('/me')).json().data, { messages: ['nobody'] })
  const response = await ada.post('/form', { name: 'ada' })
  t.strictSame([response.statusCode, response.headers.location], [302, '/me'])
  t.equal((await ada.get('/me')).json().userId, '42')
})

t.test('a cookie that mallory planted before the login is worthless after it', async (t) => {
  const app = await startPassport(t)
  const ada = new Browser(app)
  await ada.post('/keep', { planted: true })
  const mallory = copyOf(app, ada)
  t.equal((await mallory.get('/me')).json().data.planted, true)
  await login(ada, 'ada')
  t.not(ada.header, mallory.header)
  t.strictSame((await mallory.get('/me')).json(), { user: null, userId: null, data: {} })
  t.equal((await mallory.get('/members')).statusCode, 401)
})

t.test('another user in the same browser ends the session of the first, and the same user moves it', async (t) => {
  const app = await startPassport(t)
  const browser = new Browser(app)
  await login(browser, 'bob')
  for (const [name, userId] of [['ada', '42'], ['ada', '42'], ['bob', '7']] as const) {
    const before = copyOf(app, browser)
    await login(browser, name)
    t.equal((await browser.get('/me')).json().userId, userId)
    t.equal((await before.get('/me')).json().userId, null)
  }
})

t.test('of the data of before a login that is kept which passport is told to keep', async (t) => {
  const kept: Array<[Parameters<typeof startPassport>[1], Parameters<typeof startPassport>[2], Record<string, unknown>]> = [
    [{}, {}, { passport: 42 }],
    [{ clearSessionIgnoreFields: ['cart'] }, {}, { cart: ['book'], passport: 42 }],
    [{}, { keepSessionInfo: true }, { cart: ['book'], theme: 'dark', passport: 42 }]
  ]
  for (const [options, login, data] of kept) {
    const ada = new Browser(await startPassport(t, options, login))
    await ada.post('/keep', { cart: ['book'], theme: 'dark' })
    await ada.post('/login', { name: 'ada' })
    t.strictSame((await ada.get('/me')).json().data, data)
  }
})

t.test('logging out with passport signs out, for everybody who holds the cookie', async (t) => {
  for (const clearSessionOnLogin of [true, false]) {
    const app = await startPassport(t, { clearSessionOnLogin })
    const ada = new Browser(app)
    await login(ada, 'ada')
    await ada.post('/keep', { cart: ['book'] })
    const copy = copyOf(app, ada)
    t.equal((await ada.post('/logout')).statusCode, 200)
    t.equal(ada.cookies.size, 0)
    for (const browser of [ada, copy]) {
      t.strictSame((await browser.get('/me')).json(), { user: null, userId: null, data: {} })
      t.equal((await browser.get('/members')).statusCode, 401)
    }
  }
})

t.test('a user whom passport no longer knows is signed out, and gets nowhere any more', async (t) => {
  const app = await startPassport(t)
  await app.register(authRoutes, { prefix: '/auth', verify: () => null })
  for (const url of ['/members', '/me', '/auth/info']) {
    const ada = new Browser(app)
    app.people.set(42, { id: 42, name: 'ada' })
    await login(ada, 'ada')
    const copy = copyOf(app, ada)
    app.people.delete(42)
    const response = await ada.get(url)
    t.equal(response.statusCode, url === '/members' ? 401 : 200)
    t.match(response.json(), { '/members': { code: 'ERR_SESSION_UNAUTHENTICATED' }, '/me': { user: null, userId: null, data: {} }, '/auth/info': { authenticated: false } }[url])
    t.equal(ada.cookies.size, 0)
    app.people.set(42, { id: 42, name: 'ada' })
    t.equal((await copy.get('/me')).json().userId, null)
  }
})
