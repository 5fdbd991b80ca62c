import csrfProtection from '@fastify/csrf-protection'
import t from 'tap'
import type { Test } from 'tap'
import { authRoutes } from '../../lib/index.ts'
import { Browser, startApp } from '../helpers/app.ts'

/** Forms for everybody, with the tokens of @fastify/csrf-protection; `login` and `assign` sign in, in the two ways there are. */
async function startForms (t: Test): Promise<(name?: string) => Browser & { token: () => Promise<string>, send: (url: string, token?: string) => Promise<{ statusCode: number, code: string | undefined }> }> {
  const app = await startApp(t)
  await app.register(csrfProtection, { sessionPlugin: '@fastify/session' })
  app.get('/form', async (_request, reply) => ({ token: reply.generateCsrf() }))
  await app.register(async (guarded) => {
    guarded.addHook('preHandler', app.csrfProtection)
    await guarded.register(authRoutes, { verify: ({ username }) => ({ id: username }) })
    guarded.post('/assign', async ({ session }) => { session.userId = 'ada' })
    guarded.post('/transfer', async (request) => ({ by: request.auth?.userId ?? null }))
  })
  return () => {
    const browser = new Browser(app)
    return Object.assign(browser, {
      token: async () => (await browser.get('/form')).json().token as string,
      send: async (url: string, token?: string) => {
        const response = await browser.post(url, { username: 'ada', password: 'x' }, { headers: token === undefined ? {} : { 'csrf-token': token } })
        return { statusCode: response.statusCode, code: (response.body === '' ? {} : response.json()).code as string | undefined }
      }
    })
  }
}

const MISSING = { statusCode: 403, code: 'FST_CSRF_MISSING_SECRET' }
const INVALID = { statusCode: 403, code: 'FST_CSRF_INVALID_TOKEN' }

t.test('a form with its token is taken, one without is not', async (t) => {
  const open = await startForms(t)
  const ada = open()
  t.strictSame(await ada.send('/transfer'), MISSING)
  const token = await ada.token()
  t.equal((await ada.send('/transfer', token)).statusCode, 200)
  t.equal((await ada.send('/transfer', await ada.token())).statusCode, 200)
  t.equal((await ada.send('/transfer', token)).statusCode, 200, 'also that of a page still open')
  for (const wrong of [undefined, '', 'x', `${token}x`]) t.strictSame(await ada.send('/transfer', wrong), INVALID)
})

t.test('[CVE-2023-27495] the token of another visitor is not taken', async (t) => {
  const open = await startForms(t)
  const [ada, mallory] = [open(), open()]
  await ada.token()
  t.strictSame(await ada.send('/transfer', await mallory.token()), INVALID)
})

t.test('[CVE-2023-29020] a token of before the login is refused after it, and one of after it is taken', async (t) => {
  for (const url of ['/login', '/assign']) {
    const open = await startForms(t)
    const ada = open()
    const before = await ada.token()
    t.equal((await ada.send(url, before)).statusCode, 200, 'the login itself is a form')
    t.strictSame(await ada.send('/transfer', before), MISSING)
    const after = await ada.token()
    t.strictSame(await ada.send('/transfer', before), INVALID)
    t.equal((await ada.send('/transfer', after)).statusCode, 200)
  }
})

t.test('[CVE-2023-29020] a token of before the logout is refused after it', async (t) => {
  const open = await startForms(t)
  const ada = open()
  await ada.send('/login', await ada.token())
  const before = await ada.token()
  t.equal((await ada.send('/logout', before)).statusCode, 204)
  t.strictSame(await ada.send('/transfer', before), MISSING)
})

t.test('[CVE-2023-27495, CVE-2023-29020] a session that was planted together with its token gives neither to whoever signs in by it', async (t) => {
  for (const url of ['/login', '/assign']) {
    const open = await startForms(t)
    const [ada, mallory] = [open(), open()]
    const planted = await mallory.token()
    ada.cookies.set('sid', mallory.cookies.get('sid') ?? '')
    t.equal((await ada.send(url, planted)).statusCode, 200)
    t.strictSame(await ada.send('/transfer', planted), MISSING)
    await ada.token()
    t.strictSame(await ada.send('/transfer', planted), INVALID)
    t.strictSame(await mallory.send('/transfer', planted), MISSING, 'the planted session is nobody\'s')
    // Tossed beside hers afterwards, it makes mallory's of nobody.
    const hers = await ada.token()
    for (const token of [hers, planted]) {
      const tossed = await ada.post('/transfer', undefined, { headers: { cookie: `${ada.header}; ${mallory.header}`, 'csrf-token': token } })
      t.same([tossed.statusCode, tossed.json().code], [403, MISSING.code])
    }
    t.equal((await ada.send('/transfer', hers)).statusCode, 200)
  }
})
