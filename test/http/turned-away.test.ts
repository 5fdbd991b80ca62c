import type { FastifyInstance, FastifyRequest } from 'fastify'
import t from 'tap'
import type { Test } from 'tap'
import { Browser, startApp } from '../helpers/app.ts'
import { SpyStore } from '../helpers/spy-store.ts'

const FOREIGN = { origin: 'https://evil.example' }

interface Site { app: FastifyInstance, store: SpyStore, seen: unknown[], onError: { act: (request: FastifyRequest) => unknown } }

/** An application whose error handler and whose `onResponse` hook look at who is signed in, as those of logs and error pages do. */
async function open (t: Test): Promise<Site> {
  const store = new SpyStore()
  const app = await startApp(t, { store, bearer: true })
  const seen: unknown[] = []
  const onError: Site['onError'] = { act: () => {} }
  app.setErrorHandler(async (error: { statusCode?: number, code?: string }, request, reply) => {
    seen.push(request.auth, Object.keys(request.session))
    await onError.act(request)
    return reply.code(error.statusCode ?? 500).send({ code: error.code })
  })
  app.addHook('onResponse', async (request) => { seen.push(request.auth) })
  app.post('/login', async (request) => { await app.login(request, { id: 'ada' }) })
  app.post('/do', async () => 'done')
  app.get('/me', async (request) => ({ userId: request.auth?.userId ?? null, data: request.session }))
  return { app, store, seen, onError }
}

async function signIn ({ app, seen }: Site): Promise<{ ada: Browser, token: string }> {
  const ada = new Browser(app)
  await ada.post('/login')
  seen.splice(0)
  return { ada, token: (await app.sessions.create({ userId: 'ada', kind: 'bearer' })).token }
}

t.test('an error handler that asks who is signed in leaves the 403 and the 400 as they are', async (t) => {
  const site = await open(t)
  const { ada, token } = await signIn(site)
  const ways = { foreign: FOREIGN, ambiguous: { authorization: `Bearer ${token}` } }
  const answers: unknown[] = []
  for (const headers of Object.values(ways)) {
    const response = await ada.post('/do', undefined, { headers })
    answers.push([response.statusCode, response.json().code, response.setCookies, site.seen.splice(0)])
  }
  t.strictSame(answers, [
    [403, 'ERR_SESSION_CSRF_REJECTED', [], [null, [], null]],
    [400, 'ERR_SESSION_AMBIGUOUS_CREDENTIALS', [], [null, [], null]]
  ])
  t.equal((await ada.get('/me')).json().userId, 'ada')
})

t.test('[3.5.1] whatever an error handler does with the session of a request that was turned away, nothing changes', async (t) => {
  const site = await open(t)
  const { app } = site
  const acts: Record<string, (request: FastifyRequest) => unknown> = {
    flash: ({ session }) => { session.flash = 'that did not work' },
    save: async ({ session }) => {
      session.flash = 'that did not work'
      await session.save()
    },
    assign: ({ session }) => { session.userId = 'mallory' },
    login: (request) => app.login(request, { id: 'mallory' }),
    logout: (request) => app.logout(request),
    destroy: ({ session }) => session.destroy(),
    regenerate: ({ session }) => session.regenerate()
  }
  const answers: unknown[] = []
  for (const [name, act] of Object.entries(acts)) {
    const { ada } = await signIn(site)
    site.onError.act = act
    const asked = await site.store.during(async () => {
      const response = await ada.post('/do', undefined, { headers: FOREIGN })
      answers.push([name, response.statusCode, response.setCookies])
    })
    t.strictSame(asked, [], `${name} asks the store nothing`)
    t.match((await ada.get('/me')).json(), { userId: 'ada', data: { userId: 'ada' } }, name)
  }
  t.strictSame(answers, Object.keys(acts).map((name) => [name, 403, []]))
})
