import type { Page } from 'playwright-core'
import t from 'tap'
import type { AuthRoutesOptions } from '../../lib/index.ts'
import { selfSigned } from '../helpers/certificate.ts'
import { newProfile, startChromium } from '../helpers/chromium.ts'
import { jar, json, newVisitor, send, signIn, signOut, submit, values, who } from './person.ts'
import { startSite } from './site.ts'
import type { Site } from './site.ts'

const DAY_S = 24 * 60 * 60

const tls = await selfSigned(['app.example', 'other.example'])
const browser = await startChromium(t, { trusts: tls.fingerprint })

/** How the browser keeps the cookie, but for when it ends. */
const HOST_COOKIE = { name: '__Host-sid', domain: 'app.example', path: '/', httpOnly: true, secure: true, sameSite: 'Lax' }

t.test('[3.3.1, 3.3.2, 3.3.3, 3.3.4] signing in by a form over https leaves one __Host- cookie, of this host alone and for as long as the session may last', async (t) => {
  const site = await startSite(t, { tls })
  const { context, page } = await newVisitor(t, browser)
  t.equal(await who(page, site), 'nobody')
  t.strictSame(await jar(context), [], 'a visitor is given none')
  const before = Date.now() / 1000
  await signIn(page, site)
  t.equal(page.url(), `${site.url}/`)
  t.equal(await page.textContent('#who'), 'ada')
  const [cookie, ...others] = await jar(context)
  t.strictSame(others, [])
  const { expires = 0, ...rest } = cookie ?? {}
  t.match(rest, HOST_COOKIE)
  t.ok(expires >= before + 7 * DAY_S - 1 && expires <= Date.now() / 1000 + 7 * DAY_S + 1, `for seven days: ${expires - before} s`)
  await submit(page, '#note', { text: 'buy tea' })
  t.strictSame(site.notes, ['ada: buy tea'], 'and the application\'s own form is let through')
})

t.test('[3.3.4] no script sees the cookie, sees it set, or can replace it', async (t) => {
  const site = await startSite(t, { tls })
  const { context, page } = await newVisitor(t, browser)
  await page.goto(site.url)
  const answer = await send(page, '/auth/login', json({ username: 'ada', password: 'ada\'s password' }))
  t.match(answer, { status: 200, body: /"user":\{"id":"ada"\}/ })
  const [value = ''] = await values(context, site.url)
  t.match(value, /^[\w-]{22}\./)
  const secretHalf = value.split('.')[1] ?? value
  t.notMatch(JSON.stringify(answer), secretHalf, 'neither in the body nor in a header')
  t.equal(await who(page, site), 'ada')
  t.equal(await page.evaluate('document.cookie'), '')
  t.strictSame(await page.evaluate('cookieStore.getAll()'), [])
  t.notMatch(await page.content(), secretHalf)
  await page.evaluate('document.cookie = "__Host-sid=planted; Secure; Path=/"')
  t.strictSame(await values(context, site.url), [value])
  t.equal(await who(page, site), 'ada')
})

t.test('[3.3.3] a script can plant a cookie called __Host-sid where there is none, and none called __Host-Http-sid', async (t) => {
  for (const [cookieName, isPlanted] of [['__Host-sid', true], ['__Host-Http-sid', false], ['__Http-sid', false]] as const) {
    const site = await startSite(t, { tls, session: { cookieName } })
    const { context, page } = await newVisitor(t, browser)
    const { headers } = await site.app.sessions.create({ userId: 'mallory' })
    const plant = async (): Promise<void> => {
      await page.goto(site.url)
      await page.evaluate(`document.cookie = '${headers.cookie as string}; Secure; Path=/'`)
      await page.evaluate(`cookieStore.set({ name: '${cookieName}', value: '${(headers.cookie as string).split('=')[1] as string}' }).catch(() => {})`)
    }
    await plant()
    t.strictSame((await jar(context)).map(({ name }) => name), isPlanted ? [cookieName] : [], cookieName)
    t.equal(await who(page, site), isPlanted ? 'mallory' : 'nobody')
    await context.clearCookies()
    await signIn(page, site)
    t.match(await jar(context), [{ name: cookieName, httpOnly: true, secure: true, path: '/' }], 'a reply sets it')
    const before = await values(context, site.url)
    await plant()
    t.strictSame(await values(context, site.url), before)
    t.equal(await who(page, site), 'ada')
    await signOut(page, site)
    t.strictSame(await jar(context), [], 'and takes it back')
  }
})

t.test('[3.3.3, 7.4.1, 7.4.4] signing out by a form empties the jar, and what was in it is worth nothing', async (t) => {
  const site = await startSite(t, { tls })
  const { context, page } = await newVisitor(t, browser)
  await signIn(page, site)
  const kept = await context.cookies(site.url)
  t.equal(kept.length, 1)
  await signOut(page, site)
  t.equal(page.url(), `${site.url}/`)
  t.equal(await page.textContent('#who'), 'nobody')
  t.strictSame(await jar(context), [])
  await context.addCookies(kept)
  t.equal(await who(page, site), 'nobody')
  t.strictSame(site.answers.at(-1), { to: 'GET /', status: 200, from: 'none', cookies: ['__Host-sid'] }, 'though it was sent')
})

t.test('[7.4.1] signing out by fetch empties the jar as well, and a second tab is signed out', async (t) => {
  const site = await startSite(t, { tls })
  const { context, page } = await newVisitor(t, browser)
  const second = await context.newPage()
  await signIn(page, site)
  t.equal(await who(second, site), 'ada')
  t.match(await send(page, '/auth/logout', { method: 'POST' }), { status: 204 })
  t.strictSame(await jar(context), [])
  t.match(await send(second, '/auth/sessions'), { status: 401 })
  t.match(await send(second, '/notes', json({ text: 'still here' })), { status: 401 })
  t.strictSame(site.notes, [])
  await second.reload()
  t.equal(await second.textContent('#who'), 'nobody')
})

t.test('[7.5.2] one browser signs the other out, which learns of it at its next request', async (t) => {
  const site = await startSite(t, { tls })
  const { page } = await newVisitor(t, browser)
  const { page: other } = await newVisitor(t, browser)
  await signIn(page, site)
  await signIn(other, site)
  t.strictSame(await send(page, '/auth/sessions', { method: 'DELETE' }).then((answer) => 'body' in answer && JSON.parse(answer.body)), { revoked: 1 })
  t.equal(await who(other, site), 'nobody')
  t.equal(await who(page, site), 'ada')
})

t.test('[14.3.2] after signing out the back button shows neither what the routes said nor a page marked no-store', async (t) => {
  const site = await startSite(t, { tls })
  const { page } = await newVisitor(t, browser)
  for (const [path, shown, hidden] of [['/auth/info', '"ada"', '"authenticated":false'], ['/auth/sessions', '"current":true', 'ERR_SESSION_UNAUTHENTICATED'], ['/private', 'a secret', 'ERR_SESSION_UNAUTHENTICATED']] as const) {
    await signIn(page, site)
    await page.goto(site.url + path)
    t.match(await page.content(), shown)
    await signOut(page, site)
    await page.evaluate('history.go(-2)')
    await page.waitForURL(site.url + path)
    await page.waitForLoadState()
    const content = await page.content()
    t.match(content, hidden, path)
    t.notMatch(content, shown, path)
  }
})

t.test('[14.3.1] with clearSiteData a browser forgets at a sign-out what pages have stored, and keeps it without', async (t) => {
  const kept = async (auth: Partial<AuthRoutesOptions>, leave: (page: Page, site: Site) => Promise<unknown>): Promise<unknown> => {
    const site = await startSite(t, { tls, auth })
    const { page } = await newVisitor(t, browser)
    await signIn(page, site)
    await page.evaluate('localStorage.setItem("draft", "of ada")')
    await leave(page, site)
    t.equal(await who(page, site), 'nobody')
    return await page.evaluate('localStorage.getItem("draft")')
  }
  const byFetch = async (page: Page): Promise<void> => { t.match(await send(page, '/auth/logout', { method: 'POST' }), { status: 204 }) }
  t.equal(await kept({}, signOut), 'of ada')
  t.equal(await kept({ clearSiteData: true }, signOut), null, 'by a form, whose reply is a redirect')
  t.equal(await kept({ clearSiteData: true }, byFetch), null)
  t.equal(await kept({ clearSiteData: ['cookies'] }, byFetch), 'of ada', 'nothing but what was named')
})

t.test('[3.5.1] a page that sends no referrer, whose forms say Origin: null, signs in and out all the same', async (t) => {
  const site = await startSite(t, { tls, headers: { 'referrer-policy': 'no-referrer' } })
  const origins: unknown[] = []
  site.app.server.on('request', ({ method, headers }) => { if (method === 'POST') origins.push(headers.origin) })
  const { page } = await newVisitor(t, browser)
  await signIn(page, site)
  t.equal(await page.textContent('#who'), 'ada')
  await signOut(page, site)
  t.equal(await page.textContent('#who'), 'nobody')
  t.strictSame(origins, ['null', 'null'])
})

t.test('[6.3.8] a wrong password by the form leads back to it, with no cookie', async (t) => {
  const site = await startSite(t, { tls })
  const { context, page } = await newVisitor(t, browser)
  await signIn(page, site, { password: 'guessed' })
  t.equal(page.url(), `${site.url}/?failed&error=invalid_credentials`)
  t.equal(await page.textContent('#who'), 'nobody')
  t.strictSame(await jar(context), [])
})

t.test('[7.2.4] signing in again replaces the cookie, and the one of before is dead', async (t) => {
  const site = await startSite(t, { tls })
  const { context, page } = await newVisitor(t, browser)
  await signIn(page, site)
  const before = await context.cookies(site.url)
  t.match(await send(page, '/auth/login', json({ username: 'ada', password: 'ada\'s password' })), { status: 200 })
  const after = await context.cookies(site.url)
  t.equal(after.length, 1)
  t.not(after[0]?.value, before[0]?.value)
  t.equal(await who(page, site), 'ada')
  await context.clearCookies()
  await context.addCookies(before)
  t.equal(await who(page, site), 'nobody')
})

t.test('[7.1.1] remember: true outlives the browser for long, false ends with it', async (t) => {
  const site = await startSite(t, { tls })
  const other = { url: site.url.replace('app.example', 'other.example') }
  const open = await newProfile(t, { trusts: tls.fingerprint })
  const context = await open()
  const page = await context.newPage()
  const before = Date.now() / 1000
  await signIn(page, other, { remember: true })
  const [long] = await jar(context, other.url)
  const days = ((long?.expires ?? 0) - before) / DAY_S
  t.ok(days > 89.9 && days < 90.1, `${days} days`)
  await page.goto(site.url)
  t.match(await send(page, '/auth/login', json({ username: 'ada', password: 'ada\'s password', remember: false })), { status: 200 })
  t.match(await jar(context, site.url), [{ ...HOST_COOKIE, expires: -1 }])
  t.equal(await who(page, site), 'ada')
  await context.close()

  const again = await open()
  const later = await again.newPage()
  t.equal(await who(later, other), 'ada')
  t.equal(await who(later, site), 'nobody')
  t.strictSame(await jar(again, site.url), [])
})
