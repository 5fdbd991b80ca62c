import t from 'tap'
import { adminRoutes, authRoutes, sessionRoutes } from '../../lib/index.ts'
import { startApp } from '../helpers/app.ts'
import { BoundBrowser } from '../helpers/bound-browser.ts'

t.test('the ready routes say of each session whether it is bound to its device', async (t) => {
  const app = await startApp(t, { cookie: { secure: true }, deviceBound: true }, { trustProxy: '127.0.0.1' })
  await app.register(authRoutes, { prefix: '/auth', verify: async ({ username }) => ({ id: username }) })
  await app.register(sessionRoutes, { prefix: '/auth/sessions' })
  await app.register(adminRoutes, { prefix: '/admin', guard: app.authenticate })
  const [desk, phone] = [new BoundBrowser(app), new BoundBrowser(app)]
  for (const browser of [desk, phone]) {
    const login = await browser.post('/auth/login', { username: 'ada', password: 'lovelace' })
    t.equal(login.json<{ session: { deviceBound: boolean } }>().session.deviceBound, false, 'the browser has not been asked yet')
  }
  t.equal((await desk.register()).statusCode, 200)
  const info = async (browser: BoundBrowser): Promise<unknown> => (await browser.get('/auth/info')).json<{ session: { deviceBound: boolean } }>().session.deviceBound
  t.strictSame([await info(desk), await info(phone)], [true, false])
  for (const url of ['/auth/sessions', '/admin/sessions?userId=ada']) {
    const listed = (await desk.get(url)).json<Array<{ deviceBound: boolean }>>()
    t.strictSame(listed.map(({ deviceBound }) => deviceBound), [false, true], `${url}, newest first`)
  }
})
