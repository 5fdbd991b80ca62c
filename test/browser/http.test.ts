import t from 'tap'
import { startChromium } from '../helpers/chromium.ts'
import { startPages, trap } from './pages.ts'
import { jar, json, lure, newVisitor, send, signIn, signOut, submit, values, who } from './person.ts'
import { startSite } from './site.ts'

const browser = await startChromium(t)

const ADA = { username: 'ada', password: 'ada\'s password' }
const MALLORY = { username: 'mallory', password: 'mallory\'s password' }
const CSRF_REJECTED = { statusCode: 403, code: 'ERR_SESSION_CSRF_REJECTED' }
const PLAIN = { cookie: { secure: false } }
const COOKIE = { name: 'sid', domain: 'localhost', path: '/', httpOnly: true, secure: false, sameSite: 'Lax' }

t.test('[3.3.2, 3.3.4] on http://localhost with secure: false ada signs in by a form and by a script, and out, and no script sees the cookie', async (t) => {
  const site = await startSite(t, { host: 'localhost', session: PLAIN })
  const { context, page } = await newVisitor(t, browser)
  await signIn(page, site)
  t.equal(await page.textContent('#who'), 'ada')
  t.match(await jar(context), [COOKIE])
  t.equal((await jar(context)).length, 1)
  t.equal(await page.evaluate('document.cookie'), '')
  await submit(page, '#note', { text: 'buy tea' })
  t.strictSame(site.notes, ['ada: buy tea'])
  await signOut(page, site)
  t.equal(await page.textContent('#who'), 'nobody')
  t.strictSame(await jar(context), [])
  t.match(await send(page, '/auth/login', json(ADA)), { status: 200 })
  t.match(await jar(context), [COOKIE])
  t.equal(await who(page, site), 'ada')
  t.match(await send(page, '/auth/logout', { method: 'POST' }), { status: 204 })
  t.strictSame(await jar(context), [])
})

t.test('[3.3.1] on http://localhost without secure: false nobody is signed in, and no cookie is set', async (t) => {
  const site = await startSite(t, { host: 'localhost' })
  const { context, page } = await newVisitor(t, browser)
  await page.goto(site.url)
  const answer = await send(page, '/auth/login', json(ADA))
  t.match(answer, { status: 500, body: /"ERR_SESSION_INSECURE_CONNECTION"/ })
  t.strictSame(await jar(context), [])
  t.equal(await who(page, site), 'nobody')
})

t.test('[3.3.1, 3.3.3] where a proxy says https the browser keeps a __Host- cookie on http://localhost as well, and gives it back', async (t) => {
  const site = await startSite(t, { host: 'localhost', server: { trustProxy: '127.0.0.1' } })
  const { context, page } = await newVisitor(t, browser)
  await context.setExtraHTTPHeaders({ 'x-forwarded-proto': 'https' })
  await signIn(page, site)
  t.equal(await page.textContent('#who'), 'ada')
  t.match(await jar(context), [{ ...COOKIE, name: '__Host-sid', secure: true }])
  await signOut(page, site)
  t.equal(await page.textContent('#who'), 'nobody')
  t.strictSame(await jar(context), [])
})

t.test('[3.5.1] on http://localhost a page of another port, which is of the same site, signs nobody in or out', async (t) => {
  const site = await startSite(t, { host: 'localhost', session: PLAIN })
  const pages = await startPages(t, {})
  const { context, page } = await newVisitor(t, browser)
  await signIn(page, site)
  const before = await values(context, site.url)
  for (const [path, fields] of [['/auth/logout', {}], ['/auth/login', MALLORY], ['/notes', { text: 'mallory was here' }]] as const) {
    t.match(await (await lure(page, pages.add('localhost', trap(site.url + path, fields)), site.url + path)).json(), CSRF_REJECTED)
    t.strictSame(site.answers.at(-1), { to: `POST ${path}`, status: 403, from: 'same-site', cookies: ['sid'] })
  }
  t.strictSame(await values(context, site.url), before)
  t.equal(await who(page, site), 'ada')
  t.strictSame(site.notes, [])
})

t.test('[3.5.1] over plain http, where browsers do not say Sec-Fetch-Site, Origin tells the own page from others', async (t) => {
  const site = await startSite(t, { session: PLAIN })
  const pages = await startPages(t, {})
  const { context, page } = await newVisitor(t, browser)
  await signIn(page, site)
  t.equal(await page.textContent('#who'), 'ada')
  await submit(page, '#note', { text: 'buy tea' })
  t.strictSame(site.notes, ['ada: buy tea'])
  const before = await values(context, site.url)
  for (const [host, cookies] of [['evil.example', []], ['sibling.app.example', ['sid']], ['app.example', ['sid']]] as const) {
    for (const [path, fields] of [['/auth/logout', {}], ['/auth/login', MALLORY], ['/notes', { text: 'mallory was here' }]] as const) {
      const response = await lure(page, pages.add(host, trap(site.url + path, fields)), site.url + path)
      t.match(await response.json(), cookies.length === 0 && path === '/notes' ? { code: 'ERR_SESSION_UNAUTHENTICATED' } : CSRF_REJECTED, `${host}: ${path}`)
      t.match(site.answers.at(-1), { to: `POST ${path}`, from: undefined, cookies })
      t.equal(site.answers.at(-1)?.cookies.length, cookies.length)
    }
  }
  t.strictSame(await values(context, site.url), before)
  t.equal(await who(page, site), 'ada')
  t.equal(site.notes.length, 1)
  await signOut(page, site)
  t.equal(await page.textContent('#who'), 'nobody')
})
