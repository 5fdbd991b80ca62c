import t from 'tap'
import type { Test } from 'tap'
import type { Page } from 'playwright-core'
import { selfSigned } from '../helpers/certificate.ts'
import { newProfile } from '../helpers/chromium.ts'
import { until } from '../helpers/redis.ts'
import { startPages, trap } from './pages.ts'
import { json, listen, lure, send, signIn, values, who } from './person.ts'
import { startSite } from './site.ts'
import type { Site } from './site.ts'

const tls = await selfSigned(['app.example', 'evil.example'])
const open = await newProfile(t, { trusts: tls.fingerprint })
const context = await open()
const pages = await startPages(t, { tls })

const MALLORY = { username: 'mallory', password: 'mallory\'s password' }
const CSRF_REJECTED = { statusCode: 403, code: 'ERR_SESSION_CSRF_REJECTED' }
const UNAUTHENTICATED = { statusCode: 401, code: 'ERR_SESSION_UNAUTHENTICATED' }

/** A page of a browser that keeps no cookies yet. */
async function newPage (t: Test): Promise<Page> {
  await context.clearCookies()
  const page = await context.newPage()
  t.teardown(async () => await page.close())
  return page
}

/** Does what an attacker does, and looks whether anything has changed for ada, who is signed in. */
async function unharmed (t: Test, { page, site }: { page: Page, site: Site }, attack: () => Promise<void>): Promise<void> {
  const before = await values(context, site.url)
  t.equal(before.length, 1)
  await attack()
  t.strictSame(await values(context, site.url), before, 'her cookie is the same')
  t.equal(await who(page, site), 'ada', 'she is signed in')
  t.strictSame(site.notes, [], 'nothing was written in her name')
}

t.test('[3.5.1, 3.5.2] a form of another site signs ada neither out nor in as somebody else, and writes nothing in her name', async (t) => {
  const site = await startSite(t, { tls })
  const page = await newPage(t)
  await signIn(page, site)
  await unharmed(t, { page, site }, async () => {
    for (const [path, fields, answer] of [
      ['/auth/logout', {}, CSRF_REJECTED],
      ['/auth/login', MALLORY, CSRF_REJECTED],
      // Without the cookie, which stays at home: nobody's.
      ['/notes', { text: 'mallory was here' }, UNAUTHENTICATED]
    ] as const) {
      const response = await lure(page, pages.add('evil.example', trap(site.url + path, fields)), site.url + path)
      t.match(await response.json(), answer, path)
      t.strictSame(site.answers.at(-1), { to: `POST ${path}`, status: answer.statusCode, from: 'cross-site', cookies: [] })
    }
  })
})

t.test('[3.5.1, 3.5.2] where forms are sent to pages, one of another site is sent to that of failures', async (t) => {
  const site = await startSite(t, { tls })
  const page = await newPage(t)
  await signIn(page, site)
  await unharmed(t, { page, site }, async () => {
    for (const [path, fields] of [['/forms/logout', {}], ['/forms/login', MALLORY]] as const) {
      await page.goto(pages.add('evil.example', trap(site.url + path, fields)), { waitUntil: 'commit' })
      await page.waitForURL(`${site.url}/?failed&error=csrf_rejected`)
      t.equal(await page.textContent('#who'), 'ada')
    }
  })
})

t.test('[3.5.1] a form of another site signs no visitor in as mallory', async (t) => {
  const site = await startSite(t, { tls })
  const page = await newPage(t)
  const response = await lure(page, pages.add('evil.example', trap(`${site.url}/auth/login`, MALLORY)), `${site.url}/auth/login`)
  t.match(await response.json(), CSRF_REJECTED)
  t.strictSame(await context.cookies(), [])
  t.equal(await who(page, site), 'nobody')
})

t.test('[3.5.1, 3.5.2] a script of another site is refused as text/plain, and as JSON does not get through', async (t) => {
  const site = await startSite(t, { tls })
  const page = await newPage(t)
  await signIn(page, site)
  await unharmed(t, { page, site }, async () => {
    await page.goto(pages.add('evil.example', ''))
    for (const [path, body, status] of [['/auth/logout', '', 403], ['/auth/login', JSON.stringify(MALLORY), 403], ['/notes', '{"text":"mallory was here"}', 401]] as const) {
      const asked = site.answers.length
      for (const mode of ['cors', 'no-cors'] as const) await send(page, site.url + path, { method: 'POST', mode, credentials: 'include', headers: { 'content-type': 'text/plain' }, body })
      const plain = { to: `POST ${path}`, status, from: 'cross-site', cookies: [] }
      t.strictSame(site.answers.slice(asked), [plain, plain])
      t.match(await send(page, site.url + path, { ...json(MALLORY), credentials: 'include' }), { failed: /Failed to fetch/ })
      t.match(site.answers.slice(asked + 2), [{ to: `OPTIONS ${path}`, from: 'cross-site', cookies: [] }], 'no more than was asked beforehand')
    }
    t.match(await send(page, `${site.url}/auth/info`, { credentials: 'include' }), { failed: /Failed to fetch/ }, 'nor is anything read')
  })
})

t.test('[3.5.1, 3.5.2] with SameSite=None and an application that lets its scripts in, another site still does nothing unsafe', async (t) => {
  const site = await startSite(t, { tls, session: { cookie: { sameSite: 'none' } }, lets: pages.origin('evil.example') })
  const page = await newPage(t)
  await signIn(page, site)
  await unharmed(t, { page, site }, async () => {
    for (const [path, fields] of [['/auth/logout', {}], ['/auth/login', MALLORY], ['/notes', { text: 'mallory was here' }]] as const) {
      const refused = { status: 403, from: 'cross-site', cookies: ['__Host-sid'] }
      const response = await lure(page, pages.add('evil.example', trap(site.url + path, fields)), site.url + path)
      t.match(await response.json(), CSRF_REJECTED, path)
      t.strictSame(site.answers.at(-1), { to: `POST ${path}`, ...refused })
      await page.goto(pages.add('evil.example', ''))
      for (const type of ['text/plain', 'application/json']) {
        const answer = await send(page, site.url + path, { method: 'POST', credentials: 'include', headers: { 'content-type': type }, body: JSON.stringify(fields) })
        t.match(answer, { status: 403, body: /"ERR_SESSION_CSRF_REJECTED"/ }, `${path} as ${type}`)
        t.strictSame(site.answers.at(-1), { to: `POST ${path}`, ...refused })
      }
    }
    t.match(await send(page, `${site.url}/auth/sessions`, { method: 'DELETE', credentials: 'include' }), { status: 403 })
    t.match(await send(page, `${site.url}/auth/info`, { credentials: 'include' }), { status: 200, body: /"id":"ada"/ }, 'what is safe is read: the application let them')
  })
})

t.test('[3.3.2, 3.5.3] a link from another site finds ada signed in and cannot sign her out, and a frame or an image finds nobody', async (t) => {
  const site = await startSite(t, { tls })
  const page = await newPage(t)
  await signIn(page, site)
  await unharmed(t, { page, site }, async () => {
    for (const [path, status] of [['/', 200], ['/auth/logout', 404]] as const) {
      await page.goto(pages.add('evil.example', `<a href="${site.url}${path}">free tea</a>`))
      await page.click('a')
      await page.waitForURL(site.url + path)
      t.strictSame(site.answers.at(-1), { to: `GET ${path}`, status, from: 'cross-site', cookies: ['__Host-sid'] })
      if (path === '/') t.equal(await page.textContent('#who'), 'ada')
    }
    const asked = site.answers.length
    await page.goto(pages.add('evil.example', `<iframe src="${site.url}"></iframe><img src="${site.url}/private"><img src="${site.url}/auth/logout">`))
    t.equal(await page.frameLocator('iframe').locator('#who').textContent(), 'nobody')
    await until('the images', () => site.answers.length === asked + 3)
    t.strictSame(site.answers.slice(asked).map(({ to, status, cookies }) => `${to} ${status} ${cookies.join()}`).sort(), ['GET / 200 ', 'GET /auth/logout 404 ', 'GET /private 401 '])
  })
})

t.test('[7.4.1, 8.3.2] a socket is opened by the application\'s own page, and closed when ada signs out in another tab', async (t) => {
  const site = await startSite(t, { tls })
  const page = await newPage(t)
  await signIn(page, site)
  const heard = await listen(page, site)
  await heard('hello ada')
  const other = await context.newPage()
  t.teardown(async () => await other.close())
  await other.goto(site.url)
  t.match(await send(other, '/auth/logout', { method: 'POST' }), { status: 204 })
  t.strictSame(await heard('closed 4401'), ['open', 'hello ada', 'closed 4401'])
})

t.test('[3.5.1] a page of another site opens no socket in ada\'s name, though the cookie comes along', async (t) => {
  const site = await startSite(t, { tls, session: { cookie: { sameSite: 'none' } } })
  const page = await newPage(t)
  await signIn(page, site)
  await unharmed(t, { page, site }, async () => {
    await page.goto(pages.add('evil.example', ''))
    const heard = await listen(page, site)
    t.strictSame(await heard('closed 1006'), ['closed 1006'])
    // Of sockets browsers say no more than the origin.
    t.strictSame(site.answers.at(-1), { to: 'GET /live', status: 403, from: undefined, cookies: ['__Host-sid'] })
  })
})
