import { test } from 'tap'
import type { Test } from 'tap'
import { buildApp } from '../forms/server.ts'
import { Users } from '../forms/users.ts'
import { startChromium } from '../../test/helpers/chromium.ts'
import { freePort, root, startProgram } from '../../test/helpers/process.ts'
import { age } from '../../test/helpers/redis-store.ts'
import { startRedis, until } from '../../test/helpers/redis.ts'
import type { TestRedis } from '../../test/helpers/redis.ts'
import { Reader } from '../../test/helpers/visitor.ts'
import type { Answer as Reply } from '../../test/helpers/visitor.ts'

const MINUTE = 60_000
const DAY_S = 24 * 60 * 60
const ENDED = 'Your session has ended. Please sign in again.'

const ada = { username: 'ada', password: 'lovelace' }

interface Server { url: string, redis: TestRedis, users: Users }

/** The example on a port and a Redis of its own, where ada is registered. */
async function startServer (t: Test): Promise<Server> {
  const redis = await startRedis(t)
  const users = new Users()
  await users.add(ada.username, ada.password)
  const app = await buildApp({ redis: redis.url, users })
  t.teardown(async () => { await app.close() })
  return { url: await app.listen({ host: '127.0.0.1', port: 0 }), redis, users }
}

interface Answer {
  status: number
  /** Where the reply leads. */
  location: string | null
  headers: Headers
  /** What it makes of the session cookie. */
  setCookie: string | null
  /** What the page says in its `role="alert"`. */
  alert: string | undefined
  text: string
}

/** A person's browser: keeps its cookies, and follows no redirect by itself. */
class Browser {
  readonly #reader: Reader

  constructor ({ url }: Pick<Server, 'url'>) {
    this.#reader = new Reader(url)
  }

  /** Another browser with the same cookies. */
  copy (): Browser {
    const copy = new Browser(this.#reader)
    for (const [name, value] of this.#reader.cookies) copy.#reader.cookies.set(name, value)
    return copy
  }

  async open (path: string): Promise<Answer> {
    return seen(await this.#reader.get(path))
  }

  async submit (path: string, fields: Record<string, string> = {}, headers: Record<string, string> = {}): Promise<Answer> {
    return seen(await this.#reader.form(path, fields, headers))
  }
}

function seen ({ status, headers, cookies, body: text }: Reply): Answer {
  const alert = /role="alert">([^<]*)</.exec(text)?.[1]
  return { status, location: headers.get('location'), headers, setCookie: cookies.find((line) => line.startsWith('sid=')) ?? null, alert, text }
}

const TO_HOME = { status: 303, location: '/' }
const TO_LOGIN = { status: 303, location: '/login' }

test('ada signs in, is greeted by her name and signs out, and a copy of her cookie is worthless', async (t) => {
  const server = await startServer(t)
  const browser = new Browser(server)
  t.match(await browser.open('/'), TO_LOGIN)
  t.match(await browser.open('/login'), { status: 200, alert: undefined, setCookie: null })
  t.match(await browser.submit('/login', ada), { ...TO_HOME, setCookie: /^sid=[\w-]{22}\..*HttpOnly; SameSite=Lax$/ })
  t.match(await browser.open('/'), { status: 200, text: 'Hello, <strong>ada</strong>' })
  t.match(await browser.open('/login'), TO_HOME)
  const copy = browser.copy()
  t.match(await browser.submit('/logout'), { ...TO_LOGIN, setCookie: /^sid=; Max-Age=0;/ })
  t.match(await browser.open('/login'), { status: 200, alert: undefined }, 'a sign-out is no session that ended')
  t.match(await copy.open('/'), TO_LOGIN)
})

test('bob registers and is signed in, and nobody else gets his name', async (t) => {
  const server = await startServer(t)
  const bob = { username: 'bob', password: 'builders' }
  const browsers = [new Browser(server), new Browser(server)]
  const answers = await Promise.all(browsers.map(async (each, index) => await each.submit('/register', { ...bob, password: `builders ${index}` })))
  t.strictSame(answers.map(({ status }) => status).sort(), [303, 409])
  const first = browsers[answers.findIndex(({ status }) => status === 303)]
  t.match(await first?.open('/'), { status: 200, text: 'Hello, <strong>bob</strong>' })
  t.match(answers.find(({ status }) => status === 409), { alert: 'This username is taken.', setCookie: null, text: 'value="bob"' })
  const visitor = new Browser(server)
  t.match(await visitor.open('/register'), { status: 200, text: 'action="/register"' })
  for (const fields of [{ ...bob, username: 'Bob' }, { ...bob, username: 'bo' }, { username: 'robert', password: 'builder' }, { ...bob, password: 'b'.repeat(129) }, { username: 'robert' }] as Array<Record<string, string>>) {
    t.match(await visitor.submit('/register', fields), { status: 400, alert: /\w/, setCookie: null }, JSON.stringify(fields))
  }
})

test('ada is sent to the form from the page that she asked for, and back after she signed in', async (t) => {
  const browser = new Browser(await startServer(t))
  t.match(await browser.open('/?from=mail'), TO_LOGIN)
  t.equal((await browser.submit('/login', { ...ada, password: 'babbage1' })).status, 401)
  t.match(await browser.submit('/login', ada), { status: 303, location: '/?from=mail' })
  for (const path of ['/login', '/register']) t.match(await browser.open(path), TO_HOME)
})

test('a wrong password and an unknown name get the same page, which keeps the name that was typed in', async (t) => {
  const mallory = new Browser(await startServer(t))
  const wrong = await mallory.submit('/login', { ...ada, password: 'babbage1' })
  t.match(wrong, { status: 401, alert: 'Wrong username or password.', setCookie: null, text: 'value="ada"' })
  const unknown = await mallory.submit('/login', { ...ada, username: 'bob' })
  t.equal(unknown.status, 401)
  t.equal(unknown.text.replaceAll('"bob"', '"ada"'), wrong.text)
  t.notMatch(wrong.text, 'babbage1')
})

test('too many failed logins are told in how many minutes to come back, also with the right password', async (t) => {
  const mallory = new Browser(await startServer(t))
  for (let guess = 0; guess < 10; guess++) t.equal((await mallory.submit('/login', { ...ada, password: `guess ${guess}` })).status, 401)
  for (const password of ['guess', ada.password]) {
    const { status, alert, headers } = await mallory.submit('/login', { ...ada, password })
    t.equal(status, 429)
    t.equal(alert, `Too many failed logins. Try again in ${Math.ceil(Number(headers.get('retry-after')) / 60)} min.`)
    t.ok(Number(headers.get('retry-after')) > 0)
  }
})

test('whose session has run out or was ended hears so, until the next sign-in', async (t) => {
  const { redis, ...server } = await startServer(t)
  const browser = new Browser(server)
  await browser.submit('/login', ada)
  await age(redis.client, 'sess:', 31 * MINUTE)
  await until('the end of the session', async () => (await redis.client.keys('sess:*')).length === 0)
  t.match(await browser.open('/'), TO_LOGIN)
  t.match(await browser.open('/login'), { status: 200, alert: ENDED })
  t.match(await browser.submit('/login', ada), TO_HOME)
  t.equal((await browser.open('/')).status, 200)
})

test('"keep me signed in" is for 90 days, and without it the cookie goes with the browser', async (t) => {
  const browser = new Browser(await startServer(t))
  t.match(await browser.submit('/login', { ...ada, remember: 'on' }), { setCookie: `Max-Age=${90 * DAY_S};` })
  t.notMatch((await browser.submit('/login', ada)).setCookie, 'Max-Age')
})

test('what people type in is shown as text', async (t) => {
  const mallory = new Browser(await startServer(t))
  const username = '"><script>alert(\'&\')</script>'
  for (const path of ['/login', '/register']) {
    const { text } = await mallory.submit(path, { username, password: 'lovelace' })
    t.match(text, 'value="&quot;&gt;&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;"')
    t.notMatch(text, '<script')
  }
})

test('a form of another site signs ada neither out nor in as somebody else', async (t) => {
  const browser = new Browser(await startServer(t))
  await browser.submit('/login', ada)
  const headers = { origin: 'https://mallory.example', 'sec-fetch-site': 'cross-site' }
  for (const path of ['/logout', '/login', '/register']) {
    t.match(await browser.submit(path, { username: 'mallory', password: 'password' }, headers), { status: 403, setCookie: null })
  }
  t.match(await browser.open('/'), { text: 'Hello, <strong>ada</strong>' })
})

test('while Redis is down pages say so with 503, keep ada\'s cookie, and show visitors the form', async (t) => {
  const { redis, ...server } = await startServer(t)
  const browser = new Browser(server)
  await browser.submit('/login', ada)
  await redis.stop()
  for (const path of ['/', '/login']) t.match(await browser.open(path), { status: 503, alert: /^We cannot/, setCookie: null })
  t.match(await browser.submit('/login', ada), { status: 503, alert: /^We cannot/ })
  t.match(await new Browser(server).open('/login'), { status: 200, alert: undefined })
})

test('a user who was deleted is signed out', async (t) => {
  const { users, redis, ...server } = await startServer(t)
  const browser = new Browser(server)
  await browser.submit('/login', ada)
  users.find = () => undefined
  t.match(await browser.open('/'), { ...TO_LOGIN, setCookie: /^sid=; Max-Age=0;/ })
  t.strictSame(await redis.client.keys('sess:*'), [])
})

test('run by hand it says where it listens, and every reply has the policy of the pages', async (t) => {
  const port = await freePort()
  const { output } = await startProgram(t, `${root}examples/forms/server.ts`, port, { NODE_ENV: 'development', REDIS_URL: undefined, SESSION_SECRET: undefined })
  await until('the line it prints', () => new RegExp(`^Pages at http://\\S+:${port}$`, 'm').test(output()))
  const visitor = new Browser({ url: `http://127.0.0.1:${port}` })
  for (const [path, status, type] of [['/login', 200, 'text/html'], ['/', 303, null], ['/nowhere', 404, 'text/html'], ['/style.css', 200, 'text/css']] as const) {
    const answer = await visitor.open(path)
    t.equal(answer.status, status, path)
    t.match(answer.headers.get('content-security-policy'), /^default-src 'none';/, path)
    t.equal(answer.headers.get('cache-control'), 'no-store', path)
    if (type !== null) t.match(answer.headers.get('content-type'), type, path)
  }
})

test('in a browser with scripts off ada registers, signs out, mistypes and signs in, and nothing breaks the policy', async (t) => {
  const redis = await startRedis(t)
  const app = await buildApp({ redis: redis.url })
  t.teardown(async () => { await app.close() })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const context = await (await startChromium(t)).newContext({ javaScriptEnabled: false })
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('console', (message) => { if (/Content Security Policy/.test(message.text())) complaints.push(message.text()) })
  const submit = async (button: string, password?: string) => {
    if (password !== undefined) {
      await page.getByLabel('Username').fill(ada.username)
      await page.getByLabel('Password').fill(password)
    }
    const gone = page.waitForEvent('domcontentloaded')
    await page.getByRole('button', { name: button }).click()
    await gone
  }
  await page.goto(url)
  await page.getByRole('link', { name: 'Register' }).click()
  await page.waitForURL(`${url}/register`)
  await submit('Register', ada.password)
  t.equal(await page.locator('strong').textContent(), 'ada')
  await submit('Sign out')
  t.equal(page.url(), `${url}/login`)
  await submit('Sign in', 'babbage1')
  t.equal(await page.getByRole('alert').textContent(), 'Wrong username or password.')
  t.equal(await page.getByLabel('Username').inputValue(), 'ada')
  await submit('Sign in', ada.password)
  t.equal(await page.locator('strong').textContent(), 'ada')
  await redis.client.flushall()
  await page.reload()
  t.equal(await page.getByRole('alert').textContent(), ENDED)
  t.strictSame(complaints, [])
  await context.close()
})
