import t from 'tap'
import { selfSigned } from '../helpers/certificate.ts'
import { startChromium } from '../helpers/chromium.ts'
import { startPages, trap } from './pages.ts'
import { json, listen, lure, newVisitor, send, signIn, signOut, values, who } from './person.ts'
import { startSite } from './site.ts'

const tls = await selfSigned(['app.example', 'sibling.app.example'])
const browser = await startChromium(t, { trusts: tls.fingerprint })
const pages = await startPages(t, { tls })

const MALLORY = { username: 'mallory', password: 'mallory\'s password' }
const CSRF_REJECTED = { statusCode: 403, code: 'ERR_SESSION_CSRF_REJECTED' }

t.test('[3.5.1, 3.5.2] a sibling host, to whose requests the browser adds the cookie, is refused: forms, scripts and sockets', async (t) => {
  const site = await startSite(t, { tls })
  const { context, page } = await newVisitor(t, browser)
  await signIn(page, site)
  const before = await values(context, site.url)
  const refused = { status: 403, from: 'same-site', cookies: ['__Host-sid'] }
  // A page of another port of the same host is one of the same site, too.
  for (const host of ['sibling.app.example', 'app.example']) {
    for (const [path, fields] of [['/auth/logout', {}], ['/auth/login', MALLORY], ['/notes', { text: 'mallory was here' }]] as const) {
      const response = await lure(page, pages.add(host, trap(site.url + path, fields)), site.url + path)
      t.match(await response.json(), CSRF_REJECTED, `${host}: ${path}`)
      t.strictSame(site.answers.at(-1), { to: `POST ${path}`, ...refused })
      await page.goto(pages.add(host, ''))
      await send(page, site.url + path, { method: 'POST', mode: 'no-cors', credentials: 'include', body: JSON.stringify(fields) })
      t.strictSame(site.answers.at(-1), { to: `POST ${path}`, ...refused })
    }
    t.strictSame(await (await listen(page, site))('closed 1006'), ['closed 1006'])
    t.match(site.answers.at(-1), { to: 'GET /live', status: 403, cookies: ['__Host-sid'] })
  }
  t.strictSame(await values(context, site.url), before)
  t.equal(await who(page, site), 'ada')
  t.strictSame(site.notes, [])
})

t.test('[3.5.1] a sibling that is named in origins may', async (t) => {
  const site = await startSite(t, { tls, session: { origins: [pages.origin('sibling.app.example')] } })
  const { page } = await newVisitor(t, browser)
  await signIn(page, site)
  const answer = page.waitForResponse(`${site.url}/notes`)
  await page.goto(pages.add('sibling.app.example', trap(`${site.url}/notes`, { text: 'from the shop' })), { waitUntil: 'commit' })
  t.equal((await answer).status(), 303)
  await page.waitForURL(`${site.url}/`)
  t.strictSame(site.notes, ['ada: from the shop'])
  t.equal((await lure(page, pages.add('app.example', trap(`${site.url}/notes`)), `${site.url}/notes`)).status(), 403, 'and no other')
})

t.test('[3.3.3, 6265bis] a sibling host, or a page over plain http, cannot plant a __Host- cookie', async (t) => {
  const site = await startSite(t, { tls })
  const plain = await startPages(t, {})
  const mallory = await site.app.sessions.create({ userId: 'mallory' })
  const planted = mallory.headers.cookie as string
  const { context, page } = await newVisitor(t, browser)
  await signIn(page, site)
  const before = await context.cookies()
  for (const trap of [
    pages.add('sibling.app.example', '', { 'set-cookie': [`${planted}; Domain=app.example; Path=/; Secure`, `${planted}; Domain=app.example; Path=/notes; Secure`, 'probe=1; Domain=app.example; Path=/; Secure'] }),
    plain.add('app.example', '', { 'set-cookie': [`${planted}; Path=/; Secure`, `${planted}; Path=/`, 'probe=2; Path=/elsewhere'] })
  ]) {
    await page.goto(trap)
    await page.evaluate(`document.cookie = '${planted}; Domain=app.example; Path=/; Secure'`)
    const [probe, ...others] = (await context.cookies()).filter((cookie) => !before.some(({ value }) => value === cookie.value))
    t.match(probe, { name: 'probe' }, 'other cookies it can')
    t.strictSame(others, [])
    await context.clearCookies({ name: 'probe' })
    t.strictSame(await context.cookies(), before)
    t.equal(await who(page, site), 'ada')
  }
  await signOut(page, site)
  t.equal(await page.textContent('#who'), 'nobody')
})

t.test('[3.3.3, CVE-2023-27495] under a name without __Host- a planted cookie signs ada out at most, and never in as mallory beside her own', async (t) => {
  const site = await startSite(t, { tls, session: { cookieName: 'sid' } })
  const mallory = await site.app.sessions.create({ userId: 'mallory' })
  const { context, page } = await newVisitor(t, browser)
  await signIn(page, site)
  const [own] = await values(context, site.url)
  // A longer path comes first in the header.
  for (const path of ['/', '/private']) {
    await page.goto(pages.add('sibling.app.example', '', { 'set-cookie': `${mallory.headers.cookie}; Domain=app.example; Path=${path}; Secure` }))
    await page.goto(`${site.url}/private`)
    t.match(JSON.parse(await page.textContent('body') ?? ''), { code: 'ERR_SESSION_UNAUTHENTICATED' })
    t.strictSame(site.answers.at(-1), { to: 'GET /private', status: 401, from: 'none', cookies: ['sid', 'sid'] })
    t.match(await send(page, '/notes', json({ text: 'whose' })), path === '/' ? { status: 401 } : { status: 200 })
    await context.clearCookies({ domain: '.app.example' })
    t.strictSame(await values(context, site.url), [own])
    t.equal(await who(page, site), 'ada', 'and her session goes on')
  }
  t.strictSame(site.notes, ['ada: whose'])
})
