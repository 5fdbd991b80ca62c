import flash from '@fastify/flash'
import t from 'tap'
import type { Test } from 'tap'
import { Browser, startApp } from '../helpers/app.ts'
import { SpyStore } from '../helpers/spy-store.ts'

/** `POST /save`, `/login` and `/logout` leave a message and send the browser to `/`, which shows it. */
async function startShop (t: Test) {
  const store = new SpyStore()
  const app = await startApp(t, { store })
  await app.register(flash)
  app.post('/save', async (request, reply) => {
    request.flash('info', 'saved')
    request.flash('warning', ['almost full', 'very old'])
    return reply.redirect('/', 303)
  })
  app.post('/login', async (request, reply) => {
    await app.login(request, { id: 'ada' })
    request.flash('info', 'welcome')
    return reply.redirect('/', 303)
  })
  app.post('/logout', async (request, reply) => {
    await app.logout(request)
    request.flash('info', 'goodbye')
    return reply.redirect('/', 303)
  })
  app.get('/', async (request, reply) => ({ userId: request.auth?.userId ?? null, messages: reply.flash() }))
  app.get('/info', async (_request, reply) => reply.flash('info'))
  return { app, store }
}

t.test('a message survives the redirect and is shown once', async (t) => {
  const { app } = await startShop(t)
  const ada = new Browser(app)
  t.equal((await ada.post('/save')).headers.location, '/')
  t.strictSame((await ada.get('/info')).json(), ['saved'])
  t.strictSame((await ada.get('/')).json().messages, { warning: ['almost full', 'very old'] })
  t.strictSame((await ada.get('/')).json().messages, {})
  t.strictSame((await new Browser(app).get('/')).json().messages, {})
})

t.test('a message goes along with a login and a logout, whose old cookie stays dead', async (t) => {
  const { app } = await startShop(t)
  const ada = new Browser(app)
  await ada.post('/login')
  t.strictSame((await ada.get('/')).json(), { userId: 'ada', messages: { info: ['welcome'] } })
  t.strictSame((await ada.get('/')).json(), { userId: 'ada', messages: {} })
  const cookie = ada.header
  await ada.post('/logout')
  t.equal((await app.inject({ url: '/', headers: { cookie } })).json().userId, null)
  t.strictSame((await ada.get('/')).json(), { userId: null, messages: { info: ['goodbye'] } })
})

t.test('looking for messages makes no session of a visitor who has none', async (t) => {
  const { app, store } = await startShop(t)
  const visitor = new Browser(app)
  const asked = await store.during(async () => {
    for (const url of ['/', '/info', '/']) t.strictSame((await visitor.get(url)).setCookies, [])
  })
  t.strictSame(asked, [])
})

t.test('looking for messages writes nothing where there are none', async (t) => {
  const { app, store } = await startShop(t)
  const ada = new Browser(app)
  await ada.post('/save')
  await ada.get('/')
  t.strictSame(await store.during(() => ada.get('/')), ['find'])
})
