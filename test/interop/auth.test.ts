import fastifyAuth from '@fastify/auth'
import type { FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { SpyStore } from '../helpers/spy-store.ts'

const KEY = { headers: { 'x-api-key': 'robot' } }
const UNAUTHENTICATED = { statusCode: 401, code: 'ERR_SESSION_UNAUTHENTICATED', error: 'Unauthorized', message: 'Authentication required' }

/** Routes for whoever is signed in, has the key of a robot, either or both. */
async function startDesk (t: Test) {
  const store = new SpyStore()
  const app = await startApp(t, { store })
  await app.register(fastifyAuth)
  await app.register(authRoutes, { verify: ({ username }) => ({ id: username }) })
  const verifyKey = async (request: FastifyRequest): Promise<void> => {
    if (request.headers['x-api-key'] !== 'robot') throw new Error('no key')
  }
  const who = async ({ auth }: FastifyRequest) => ({ userId: auth?.userId ?? null })
  app.get('/session', { preHandler: app.auth([app.authenticate]) }, who)
  app.get('/early', { onRequest: app.auth([app.authenticate]) }, who)
  app.get('/either', { preHandler: app.auth([verifyKey, app.authenticate]) }, who)
  app.get('/both', { preHandler: app.auth([app.authenticate, verifyKey], { relation: 'and' }) }, who)
  app.get('/robots', { preHandler: app.auth([verifyKey, app.authenticate]) }, async () => 'welcome')
  app.get('/all', { preHandler: app.auth([verifyKey, app.authenticate], { relation: 'or', run: 'all' }) }, who)
  const ada = new Browser(app)
  await ada.post('/login', { username: 'ada', password: 'x' })
  return { app, store, ada, visitor: new Browser(app) }
}

t.test('app.authenticate is a function of app.auth, and its error comes through', async (t) => {
  const { ada, visitor } = await startDesk(t)
  for (const url of ['/session', '/early']) {
    const passed = await ada.get(url)
    t.strictSame([passed.statusCode, passed.json()], [200, { userId: 'ada' }])
    const refused = await visitor.get(url)
    t.strictSame([refused.statusCode, refused.json()], [401, UNAUTHENTICATED])
  }
})

t.test('either: a session or a key, the last refusal is the reply', async (t) => {
  const { ada, visitor } = await startDesk(t)
  for (const url of ['/either', '/all']) {
    t.strictSame((await ada.get(url)).json(), { userId: 'ada' })
    t.strictSame((await visitor.get(url, KEY)).json(), { userId: null })
    t.equal((await visitor.get(url, KEY)).statusCode, 200)
  }
  const refused = await visitor.get('/either')
  t.strictSame([refused.statusCode, refused.json()], [401, UNAUTHENTICATED])
})

t.test('both: a session and a key', async (t) => {
  const { ada, visitor } = await startDesk(t)
  t.strictSame((await ada.get('/both', KEY)).json(), { userId: 'ada' })
  t.equal((await ada.get('/both')).json().message, 'no key')
  t.strictSame((await visitor.get('/both', KEY)).json(), UNAUTHENTICATED)
})

t.test('a store in trouble is a 503, not a 401', async (t) => {
  const { ada, store, visitor } = await startDesk(t)
  store.failing.add('find')
  for (const url of ['/session', '/early', '/either', '/both']) {
    const response = await ada.get(url)
    t.strictSame([response.statusCode, response.json().code, response.json().statusCode, response.headers['retry-after']], [503, 'ERR_SESSION_STORE_UNAVAILABLE', 503, '1'], url)
  }
  t.equal((await ada.get('/robots', KEY)).statusCode, 200, 'a key is as good as ever')
  t.equal((await visitor.get('/session')).statusCode, 401)
})
