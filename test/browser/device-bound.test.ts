import type { BrowserContext, Page } from 'playwright-core'
import t from 'tap'
import type { Test } from 'tap'
import { MemoryStore } from '../../lib/index.ts'
import type { DeviceMismatch } from '../../lib/index.ts'
import { selfSigned } from '../helpers/certificate.ts'
import { newProfile } from '../helpers/chromium.ts'
import { until } from '../helpers/redis.ts'
import type { Owner } from '../helpers/redis.ts'
import { startPages } from './pages.ts'
import { jar, json, send, signIn, signOut, who } from './person.ts'
import { startSite } from './site.ts'
import type { Site } from './site.ts'

const MINUTE = 60_000
const SHORT = '__Host-sid-bound'

const tls = await selfSigned(['app.example', 'www.app.example', 'evil.example'])

interface Place {
  site: Site
  context: BrowserContext
  page: Page
  /** Lets time go by for the application. */
  age: (ms: number) => void
  mismatches: DeviceMismatch[]
}

/** An application that binds its sessions, and a browser that can. */
async function start (t: Owner, { binds = true, lets }: { binds?: boolean, lets?: string } = {}): Promise<Place> {
  let aged = 0
  const store = new MemoryStore({ now: () => Date.now() + aged })
  const site = await startSite(t, { tls, ...lets !== undefined && { lets }, session: { store, deviceBound: true, ...lets !== undefined && { origins: [lets] } } })
  const mismatches: DeviceMismatch[] = []
  site.app.sessions.on('device-mismatch', (event) => mismatches.push(event))
  const context = await (await newProfile(t, { trusts: tls.fingerprint, binds }))()
  const page = await context.newPage()
  return { site, context, page, age: (ms) => { aged += ms }, mismatches }
}

/** What the application was asked for by the browser itself. */
function asked ({ site }: Place): string[] {
  return site.answers.filter(({ to }) => to.startsWith('POST /device-bound')).map(({ to, status }) => `${to} ${status}`)
}

const isKept = async ({ context }: Place): Promise<boolean> => (await context.cookies()).some(({ name }) => name === SHORT)

/** Signs ada in, and waits until her browser has bound the session; more than the time passes in which any request does. */
async function signInBound (t: Test, place: Place): Promise<void> {
  await signIn(place.page, place.site)
  await until('the session to be bound', async () => await isKept(place))
  t.equal(await who(place.page, place.site), 'ada')
  place.age(MINUTE)
}

/** Has the short cookie run out in the browser. */
async function runOut ({ context }: Place): Promise<void> {
  await context.clearCookies({ name: SHORT })
}

t.test('a session is bound however its page signs in: by a form that leads to another page, or by fetch', async (t) => {
  const place = await start(t)
  const { site, page } = place
  await signIn(page, site)
  await until('the session to be bound', async () => await isKept(place))
  t.strictSame(asked(place), ['POST /device-bound 200'])
  t.match(await site.app.sessions.listByUser('ada'), [{ deviceBound: false }], 'it has not shown its key yet')
  t.equal(await who(page, site), 'ada')
  t.match(await site.app.sessions.listByUser('ada'), [{ deviceBound: true }])
  await signOut(page, site)
  await send(page, '/auth/login', json({ username: 'ada', password: 'ada\'s password' }))
  await until('the session to be bound', async () => await isKept(place))
  t.equal(await who(page, site), 'ada')
  t.match(await site.app.sessions.listByUser('ada'), [{ deviceBound: true }])
  t.strictSame(place.mismatches, [])
})

t.test('when the short cookie has run out, four fetches and a WebSocket wait for one refresh', async (t) => {
  const place = await start(t)
  const { site, page } = place
  await signInBound(t, place)
  const before = asked(place).length
  await runOut(place)
  const answers = await page.evaluate(`Promise.all([
    ...[1, 2, 3, 4].map((each) => fetch('/private?' + each).then(({ status }) => status)),
    new Promise((resolve) => {
      const socket = new WebSocket(location.origin.replace('https', 'wss') + '/live')
      socket.onmessage = ({ data }) => resolve(data)
      socket.onclose = ({ code }) => resolve(code)
    })
  ])`)
  t.strictSame(answers, [200, 200, 200, 200, 'hello ada'])
  t.strictSame(asked(place).slice(before), ['POST /device-bound/refresh 200'])
  t.strictSame(site.answers.filter(({ to }) => to.startsWith('GET /private')).map(({ cookies }) => cookies.includes(SHORT)), [true, true, true, true])
  t.strictSame(place.mismatches, [])
})

t.test('cookies that are copied into another browser work until the short one ends, and the first browser goes on', async (t) => {
  const place = await start(t)
  const { site, context, page, age, mismatches } = place
  await signInBound(t, place)
  const stolen = await context.cookies()
  const thief = await (await newProfile(t, { trusts: tls.fingerprint, binds: true }))()
  await thief.addCookies(stolen)
  const theirs = await thief.newPage()
  t.equal(await who(theirs, site), 'ada', 'for some minutes')
  age(11 * MINUTE)
  t.match(await send(theirs, '/private'), { status: 401, body: /ERR_SESSION_DEVICE_MISMATCH/ })
  t.equal(await who(theirs, site), 'nobody')
  // Its clock is not the application's, which is ahead: for it the cookie has not run out yet.
  await runOut(place)
  t.equal(await who(page, site), 'ada')
  t.match(mismatches, [{ userId: 'ada', reason: 'refused' }])
})

t.test('signing out ends the browser\'s side as well', async (t) => {
  const place = await start(t)
  const { site, context, page } = place
  await signInBound(t, place)
  await signOut(page, site)
  t.strictSame(await jar(context), [])
  t.equal(await who(page, site), 'nobody')
  t.equal(await who(page, site), 'nobody')
  t.strictSame(asked(place).filter((each) => each.includes('401')).length, 1, 'it asks once more, and is told to forget')
})

t.test('a link of another site, with the short cookie run out, shows the page after a refresh, and signs nobody out', async (t) => {
  const place = await start(t)
  const { site, page, mismatches } = place
  await signInBound(t, place)
  await runOut(place)
  const pages = await startPages(t, { tls })
  await page.goto(pages.add('evil.example', `<a id="go" href="${site.url}/private#there">go</a>`))
  await page.click('#go')
  await page.waitForSelector('#who')
  t.equal(page.url(), `${site.url}/private#there`)
  t.equal(await page.textContent('#who'), 'ada')
  t.match(site.answers.slice(-3), [
    { to: 'GET /private', status: 200, from: 'cross-site', cookies: ['__Host-sid'] },
    { to: 'POST /device-bound/refresh', status: 200 },
    { to: 'GET /private', status: 200, from: 'same-origin', cookies: ['__Host-sid', SHORT] }
  ])
  await page.goBack({ waitUntil: 'commit' })
  t.match(page.url(), /evil\.example/, 'it is one page in the history')
  t.strictSame(mismatches, [])
})

t.test('a browser that may not ask so often says so, and its person stays signed in', async (t) => {
  const place = await start(t)
  const { site, page, mismatches } = place
  await signInBound(t, place)
  for (let time = 0; time < 12 && mismatches.length === 0; time++) {
    await runOut(place)
    t.equal(await who(page, site), 'ada')
  }
  t.match(mismatches, [{ userId: 'ada', reason: 'skipped' }])
})

t.test('a browser that cannot bind sessions signs in and works, and asks for nothing more', async (t) => {
  const place = await start(t, { binds: false })
  const { site, page, age, mismatches } = place
  await signIn(page, site)
  age(MINUTE)
  t.equal(await who(page, site), 'ada')
  t.match(await send(page, '/private'), { status: 200 })
  t.strictSame(asked(place), [])
  t.strictSame(mismatches, [])
  t.match(await site.app.sessions.listByUser('ada'), [{ deviceBound: false }])
})

t.test('a page of another origin of the same site, named in origins, has its requests wait for the refresh as well', async (t) => {
  const pages = await startPages(t, { tls })
  const place = await start(t, { lets: pages.origin('www.app.example') })
  const { site, page, mismatches } = place
  await signInBound(t, place)
  await page.goto(pages.add('www.app.example', 'a front end'))
  const before = asked(place).length
  for (const [method, path] of [['GET', '/private'], ['POST', '/auth/logout']] as const) {
    await runOut(place)
    t.match(await send(page, site.url + path, { method, credentials: 'include' }), { status: method === 'GET' ? 200 : 204 })
  }
  t.strictSame(asked(place).slice(before), ['POST /device-bound/refresh 200', 'POST /device-bound/refresh 200'])
  t.strictSame(mismatches, [])
})
