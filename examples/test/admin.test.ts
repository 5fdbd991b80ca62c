import axe from 'axe-core'
import type { AxeResults } from 'axe-core'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { test } from 'tap'
import type { Test } from 'tap'
import { buildApp } from '../admin/server.ts'
import { startChromium } from '../../test/helpers/chromium.ts'
import { freePort, root, startProgram } from '../../test/helpers/process.ts'
import { startRedis, until } from '../../test/helpers/redis.ts'
import { Reader } from '../../test/helpers/visitor.ts'

const IPHONE = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1'
const HOSTILE = '<img src=x onerror=alert(1)>'
const PASSWORDS = { grace: 'hopper', ada: 'lovelace', bob: 'builder' }
type Name = keyof typeof PASSWORDS

/** The example on a port and a Redis of its own. */
async function startServer (t: Test) {
  const redis = await startRedis(t)
  const app = await buildApp({ redis: redis.url })
  t.teardown(async () => { await app.close() })
  return { app, url: await app.listen({ host: '127.0.0.1', port: 0 }) }
}

/** Somebody's browser, in which no script runs, at the page after the sign-in. */
async function openSignedIn (browser: Browser, url: string, name: Name, options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext({ javaScriptEnabled: false, ...options })
  const page = await context.newPage()
  await page.goto(url)
  await page.getByLabel('Username').fill(name)
  await page.getByLabel('Password').fill(PASSWORDS[name])
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.waitForURL(`${url}/`)
  return page
}

test('an operator ends one session and then all, and the user\'s browsers are signed out at once', async (t) => {
  const { url } = await startServer(t)
  const browser = await startChromium(t)
  const [grace, phone, laptop, bob] = [
    await openSignedIn(browser, url, 'grace'), await openSignedIn(browser, url, 'ada', { userAgent: IPHONE }),
    await openSignedIn(browser, url, 'ada'), await openSignedIn(browser, url, 'bob')
  ]
  const complaints: string[] = []
  grace.on('console', (message) => { if (/Content Security Policy/.test(message.text())) complaints.push(message.text()) })
  await grace.getByRole('link', { name: 'Sessions of users' }).click()
  await grace.getByLabel('User').fill('ada')
  await grace.getByRole('button', { name: 'Search' }).click()
  await grace.waitForURL(`${url}/admin?userId=ada`)
  t.equal(await grace.locator('#sessions li').count(), 2)

  const lost = grace.locator('#sessions li', { hasText: 'Safari 18 on iOS' })
  await lost.getByLabel('Reason').fill('lost phone')
  await lost.getByRole('button').click()
  await grace.locator('#sessions li').nth(1).waitFor({ state: 'detached' })
  t.equal(grace.url(), `${url}/admin?userId=ada`)
  t.equal(await grace.locator('#sessions li').count(), 1)
  t.match(await grace.innerText('#audit'), /: grace ended a session of ada: lost phone$/)
  await phone.reload()
  t.equal(phone.url(), `${url}/login`)
  await laptop.reload()
  t.equal(await laptop.innerText('h1'), 'Hello, ada')

  await grace.getByRole('button', { name: 'End all' }).click()
  await grace.locator('#sessions').waitFor({ state: 'detached' })
  t.equal(await grace.locator('#audit li').count(), 2)
  await laptop.reload()
  t.equal(laptop.url(), `${url}/login`)
  await bob.reload()
  t.equal(await bob.innerText('h1'), 'Hello, bob')
  t.strictSame(complaints, [])
})

test('names, devices and reasons are shown as text, and axe finds nothing on the page', async (t) => {
  const { app, url } = await startServer(t)
  const browser = await startChromium(t)
  const grace = await openSignedIn(browser, url, 'grace')
  await openSignedIn(browser, url, 'ada', { userAgent: HOSTILE })
  await app.sessions.create({ userId: 'ada', label: HOSTILE })
  await app.sessions.create({ userId: HOSTILE, label: '"><script>alert(1)</script>' })
  for (const userId of ['ada', HOSTILE]) {
    await grace.goto(`${url}/admin?${new URLSearchParams({ userId })}`)
    t.ok((await grace.innerText('#sessions')).includes(userId === 'ada' ? HOSTILE : '"><script>'), userId)
    const form = grace.locator('form', { hasText: 'End all' })
    await form.getByLabel('Reason').fill(HOSTILE)
    await form.getByRole('button').click()
    await grace.locator('#sessions').waitFor({ state: 'detached' })
    t.ok((await grace.innerText('#audit')).includes(`ended a session of ${userId}: ${HOSTILE}`))
    t.equal(await grace.locator('img, script').count(), 0)
  }
  await app.sessions.create({ userId: 'ada' })
  // axe is a script.
  const scripted = await openSignedIn(browser, url, 'grace', { javaScriptEnabled: true })
  await scripted.goto(`${url}/admin?userId=ada&error=not_found`)
  t.equal(await scripted.innerText('[role=alert]'), 'This session has ended already.')
  await scripted.evaluate(axe.source)
  const { violations, passes } = await scripted.evaluate('axe.run()') as AxeResults
  t.strictSame(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), [])
  t.ok(passes.some(({ id }) => id === 'color-contrast'))
})

test('who is no operator sees no page of theirs and ends nothing; a page of another site does not either', async (t) => {
  const { app, url } = await startServer(t)
  const signedIn = async (username: Name): Promise<Reader> => {
    const reader = new Reader(url)
    t.match(await reader.form('/auth/login', { username, password: PASSWORDS[username] }), { status: 303 })
    return reader
  }
  const [grace, bob, visitor] = [await signedIn('grace'), await signedIn('bob'), new Reader(url)]
  await app.sessions.create({ userId: 'ada' })
  t.match(await bob.get('/admin?userId=ada'), { status: 403, body: /This is for operators only/ })
  t.equal((await bob.get('/admin/sessions?userId=ada')).status, 403)
  t.equal((await visitor.get('/admin?userId=ada')).headers.get('location'), '/login')
  const revoke = async (reader: Reader, headers?: Record<string, string>) => (await reader.form('/admin/sessions/revoke', { userId: 'ada' }, headers)).headers.get('location')
  t.equal(await revoke(bob), '/admin?userId=ada&error=bad_request')
  t.equal(await revoke(visitor), '/login?error=unauthenticated')
  t.equal(await revoke(grace, { origin: 'https://mallory.example', 'sec-fetch-site': 'cross-site' }), '/admin?error=csrf_rejected')
  t.equal((await app.sessions.listByUser('ada')).length, 1)
  t.match(JSON.parse((await grace.get('/admin/sessions?userId=ada')).body), [{ userId: 'ada', kind: 'cookie' }])
  t.equal(await revoke(grace), '/admin?userId=ada')
  t.strictSame(await app.sessions.listByUser('ada'), [])
})

test('who acts as an operator sees no page of theirs, and ends nothing', async (t) => {
  const { app, url } = await startServer(t)
  await app.sessions.create({ userId: 'ada' })
  const { headers } = await app.sessions.create({ userId: 'grace', actor: 'bob' })
  const acting = new Reader(url)
  t.match(await acting.get('/', headers as Record<string, string>), { status: 200, body: /Hello, grace/ })
  t.match(await acting.get('/admin?userId=ada', headers as Record<string, string>), { status: 403, body: /This is for operators only/ })
  t.equal((await acting.get('/admin/sessions?userId=ada', headers as Record<string, string>)).status, 403)
  t.equal((await acting.form('/admin/sessions/revoke', { userId: 'ada' }, headers as Record<string, string>)).status, 303)
  t.equal((await app.sessions.listByUser('ada')).length, 1)
})

test('run by hand it says where it listens, and every reply has the policy of the pages', async (t) => {
  const port = await freePort()
  const { output } = await startProgram(t, `${root}examples/admin/server.ts`, port, { NODE_ENV: 'development', REDIS_URL: undefined, SESSION_SECRET: undefined })
  await until('the line it prints', () => new RegExp(`^Pages at http://\\S+:${port}$`, 'm').test(output()))
  const visitor = new Reader(`http://127.0.0.1:${port}`)
  for (const [path, status, type] of [['/login', 200, 'text/html'], ['/admin', 303, null], ['/nowhere', 404, 'text/html'], ['/style.css', 200, 'text/css'], ['/admin/stats', 401, 'application/json']] as const) {
    const answer = await visitor.get(path)
    t.equal(answer.status, status, path)
    t.match(answer.headers.get('content-security-policy'), /^default-src 'none';/, path)
    t.equal(answer.headers.get('cache-control'), 'no-store', path)
    if (type !== null) t.match(answer.headers.get('content-type'), type, path)
  }
})
