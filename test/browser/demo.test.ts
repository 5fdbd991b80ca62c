import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import axe from 'axe-core'
import type { AxeResults } from 'axe-core'
import type { BrowserContextOptions, Page } from 'playwright-core'
import t from 'tap'
import type { Test } from 'tap'
import { startChromium } from '../helpers/chromium.ts'
import { freePort, root, startProgram } from '../helpers/process.ts'
import { startRedis } from '../helpers/redis.ts'
import type { TestRedis } from '../helpers/redis.ts'
import { smallPng } from '../helpers/small-png.ts'

/*
 * What `npm run demo` shows. `npm run docs:screenshots` runs this file with SCREENSHOTS, the folder that the pictures of
 * the documentation are written to.
 */

const browser = await startChromium(t)

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

const FIREFOX = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:131.0) Gecko/20100101 Firefox/131.0'
const IPHONE = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) ' +
  'Version/18.1 Mobile/15E148 Safari/604.1'
const CHROME = 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) ' +
  'Chrome/130.0.0.0 Safari/537.36'

const PASSWORDS = { ada: 'lovelace', bob: 'builder' }

interface Demo { url: string }

/** A demo of this test's own. Like the tests, it waits for a busy machine. */
async function startDemo (t: Test, redis?: TestRedis): Promise<Demo> {
  const port = await freePort()
  await startProgram(t, `${root}examples/demo/server.ts`, port, {
    NODE_OPTIONS: '--import=tsx --import=./test/helpers/patience.ts',
    TSX_TSCONFIG_PATH: `${root}examples/tsconfig.json`,
    REDIS_URL: redis?.url
  })
  return { url: `http://127.0.0.1:${port}` }
}

/** What browsers complain about: what the policy refused, and errors of scripts. */
const complaints: string[] = []

/** A test in which no browser complains. */
function test (name: string, run: (t: Test) => Promise<void>): void {
  t.test(name, async (t) => {
    await run(t)
    t.strictSame(complaints.splice(0), [], 'no browser complains')
  })
}

/** A browser of somebody's own. */
async function open (t: Test, { url }: Demo, options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext({ timezoneId: 'UTC', ...options })
  t.teardown(async () => await context.close())
  const page = await context.newPage()
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('console', (message) => {
    if (message.text().includes('Content Security Policy')) complaints.push(message.text())
  })
  await page.goto(url)
  return page
}

interface SignIn { name?: keyof typeof PASSWORDS, password?: string, remember?: boolean }

async function signIn (page: Page, { name = 'ada', password = PASSWORDS[name], remember = false }: SignIn = {}): Promise<void> {
  await page.fill('#username', name)
  await page.fill('#password', password)
  if (remember) await page.check('#remember')
  await page.click('main button')
}

/** Somebody whose page is open, and hears what happens. */
async function openSignedIn (t: Test, demo: Demo, { name, ...options }: BrowserContextOptions & SignIn = {}): Promise<Page> {
  const page = await open(t, demo, options)
  await signIn(page, name === undefined ? {} : { name })
  if (options.javaScriptEnabled !== false) await page.waitForSelector('[data-live]')
  return page
}

/** The devices that a page lists. */
async function devices (page: Page): Promise<string[]> {
  return await page.locator('#devices h3').allInnerTexts()
}

/** Types in the code that the page shows in place of a phone. */
async function confirm (page: Page): Promise<void> {
  await page.fill('#code', await page.innerText('#shown'))
  await page.click('main button')
}

/** Makes the sessions of a device older: as if they had begun, and been used, that long before. */
async function age (redis: TestRedis, device: string, { began = 0, used = 0, ip }: { began?: number, used?: number, ip?: string }): Promise<void> {
  for (const key of await redis.client.keys('sess:*')) {
    const [head = '', data = ''] = (await redis.client.get(key) ?? '').split('\n')
    const session = JSON.parse(head) as { s: number, c: number, a: number, p: string, b: string }
    if (!session.b.startsWith(device)) continue
    session.c -= began
    session.a -= began
    session.s -= used
    session.p = ip ?? session.p
    await redis.client.set(key, `${JSON.stringify(session)}\n${data}`, 'KEEPTTL')
  }
}

test('ada signs in, sees who she is, and signs out; a wrong password says so and keeps her name', async (t) => {
  const demo = await startDemo(t)
  const page = await open(t, demo, { userAgent: FIREFOX })
  t.equal(page.url(), `${demo.url}/sign-in`)
  t.match(await page.innerText('.hint'), /ada[\s\S]*lovelace[\s\S]*bob[\s\S]*builder/)
  await signIn(page, { password: 'builder' })
  t.equal(await page.innerText('[role=alert]'), 'This name and password do not go together.')
  t.equal(await page.inputValue('#username'), 'ada')
  await signIn(page)
  t.equal(await page.innerText('h1'), 'Hello, Ada')
  t.match(await page.innerText('.facts'), /ada@example\.com[\s\S]*just now[\s\S]*this browser closes/)
  t.strictSame(await devices(page), ['Firefox 131 on Windows this device'])
  t.match(await page.innerText('#devices'), /127\.0\.0\.1/)
  const [cookie] = await page.context().cookies()
  t.equal(cookie?.expires, -1)
  await page.click('header button')
  t.equal(await page.innerText('[role=status]'), 'You are signed out.')
  t.strictSame(await page.context().cookies(), [])
  await page.goto(`${demo.url}/`)
  t.equal(page.url(), `${demo.url}/sign-in`)
})

test('who is remembered has a cookie for ninety days, also after a code', async (t) => {
  const demo = await startDemo(t)
  const page = await open(t, demo)
  const days = async () => Math.round(((await page.context().cookies())[0]?.expires ?? 0) * 1000 / DAY - Date.now() / DAY)
  await signIn(page, { remember: true })
  t.equal(await days(), 90)
  await page.click('a[href="/email"]')
  await confirm(page)
  t.equal(await days(), 90)
})

test('a page hears at once of another device, and that its own session has ended', async (t) => {
  const demo = await startDemo(t)
  const first = await openSignedIn(t, demo, { userAgent: FIREFOX })
  const bob = await openSignedIn(t, demo, { name: 'bob' })
  const second = await openSignedIn(t, demo, { userAgent: IPHONE })
  await first.waitForSelector('#devices h3:has-text("Safari 18 on iOS")')
  t.strictSame(await devices(first), ['Safari 18 on iOS', 'Firefox 131 on Windows this device'])
  t.equal(await first.innerText('#news'), 'Your devices have changed just now.')
  t.equal(await bob.isVisible('#news'), false)

  await first.click('#devices li:has-text("Safari 18 on iOS") button')
  t.equal(await first.innerText('[role=status]:visible'), 'That device is signed out.')
  await second.waitForSelector('h1:has-text("You are signed out")')
  t.notMatch(await second.innerText('body'), /ada@example\.com/)
  t.equal(await second.evaluate('document.activeElement.textContent'), 'You are signed out')
  await second.click('text=Sign in again')
  t.equal(second.url(), `${demo.url}/sign-in`)
  t.equal(await bob.innerText('h1'), 'Hello, Bob')
})

test('two windows of one browser: signing out in one ends the other, and a login by code is none to it', async (t) => {
  const demo = await startDemo(t)
  const one = await openSignedIn(t, demo)
  const other = await one.context().newPage()
  await other.goto(demo.url)
  await other.waitForSelector('[data-live]')
  const session = await other.getAttribute('body', 'data-session')
  await one.click('a[href="/email"]')
  await confirm(one)
  await other.waitForSelector(`body:not([data-session="${session}"])[data-live]`)
  t.equal(await other.innerText('h1'), 'Hello, Ada')
  await one.click('header button')
  await other.waitForSelector('h1:has-text("You are signed out")')
})

test('all others end and this session goes on; everywhere ends all of them', async (t) => {
  const demo = await startDemo(t)
  const [here, ...others] = [
    await openSignedIn(t, demo), await openSignedIn(t, demo), await openSignedIn(t, demo)
  ] as [Page, Page, Page]
  await here.reload()
  await here.click('#others')
  t.equal(await here.innerText('[role=status]:visible'), 'All your other devices are signed out.')
  t.equal((await devices(here)).length, 1)
  t.equal(await here.locator('#others').count(), 0)
  await Promise.all(others.map((page) => page.waitForSelector('h1:has-text("You are signed out")')))

  const again = await openSignedIn(t, demo)
  await here.reload()
  await here.click('#everywhere')
  t.match(await here.innerText('[role=status]'), /on all your devices, this one included/)
  t.strictSame(await here.context().cookies(), [])
  await again.waitForSelector('h1:has-text("You are signed out")')
})

test('an e-mail address changes after a code of the second factor, for five minutes', async (t) => {
  const redis = await startRedis(t)
  const demo = await startDemo(t, redis)
  const page = await openSignedIn(t, demo, { userAgent: FIREFOX })
  const id = await page.getAttribute('body', 'data-session')
  await page.click('a[href="/email"]')
  t.equal(page.url(), `${demo.url}/confirm?for=email`)
  await page.fill('#code', '12345')
  await page.click('main button')
  t.equal(await page.innerText('[role=alert]'), 'This code is wrong, or was used before.')
  await confirm(page)
  t.equal(page.url(), `${demo.url}/email`)
  await page.fill('#email', 'ada@localhost')
  await page.click('main button')
  t.equal(await page.innerText('[role=alert]'), 'This is no e-mail address.')
  await page.fill('#email', 'countess@example.org')
  await page.click('main button')
  t.equal(await page.innerText('[role=status]:visible'), 'Your e-mail address has changed.')
  t.match(await page.innerText('.facts'), /countess@example\.org[\s\S]*with a code/)
  t.not(await page.getAttribute('body', 'data-session'), id)
  t.equal((await devices(page)).length, 1)

  await age(redis, 'Firefox', { began: 4 * MINUTE })
  await page.click('a[href="/email"]')
  t.equal(page.url(), `${demo.url}/email`)
  await age(redis, 'Firefox', { began: 2 * MINUTE })
  await page.click('main button')
  t.equal(page.url(), `${demo.url}/confirm?for=email`)
})

test('who signed in ten minutes ago proves again who they are before others end, and is led back', async (t) => {
  const redis = await startRedis(t)
  const demo = await startDemo(t, redis)
  const page = await openSignedIn(t, demo, { userAgent: FIREFOX })
  const other = await openSignedIn(t, demo, { userAgent: IPHONE })
  await age(redis, 'Firefox', { began: 11 * MINUTE })
  await page.reload()
  await page.click('#others')
  t.equal(page.url(), `${demo.url}/confirm?for=devices`)
  t.equal((await devices(other)).length, 2)
  await confirm(page)
  t.match(page.url(), /\/(\?say=confirmed)?#devices$/)
  t.match(await page.innerText('[role=status]:visible'), /^Thank you/)
  await page.click('#others')
  await other.waitForSelector('h1:has-text("You are signed out")')
})

test('the page of a form is not loaded again while what the form leads to is on its way', async (t) => {
  const demo = await startDemo(t)
  const page = await openSignedIn(t, demo)
  await page.goto(`${demo.url}/confirm?for=devices`)
  await page.waitForSelector('[data-live]')
  // Says when it has heard of a session again. While it is being left, nobody can look into it.
  await page.evaluate(`
    new MutationObserver(() => fetch('/icon.svg?heard')).observe(document.body, { attributeFilter: ['data-live'] })`)
  await page.route('**/confirm', async (route) => {
    if (route.request().method() !== 'POST') return await route.continue()
    const heard = page.waitForRequest('**/icon.svg?heard')
    const response = await route.fetch({ maxRedirects: 0 })
    // The session has another id by now.
    await heard
    await route.fulfill({ response })
  })
  await confirm(page)
  t.match(await page.innerText('[role=status]:visible'), /^Thank you/)
})

test('a code counts once, and whatever a form says it leads to a page of the demo', async (t) => {
  const demo = await startDemo(t)
  const page = await openSignedIn(t, demo)
  await page.goto(`${demo.url}/confirm?for=//evil.example`)
  await page.evaluate("document.querySelector('[name=for]').value = 'https://evil.example'")
  const code = await page.innerText('#shown')
  await confirm(page)
  t.match(page.url(), `${demo.url}/`)
  await page.goto(`${demo.url}/confirm?for=email`)
  await page.fill('#code', code)
  await page.click('main button')
  t.equal(await page.innerText('[role=alert]'), 'This code is wrong, or was used before.')
})

test('after ten wrong passwords the page says when to try again', async (t) => {
  const demo = await startDemo(t)
  const page = await open(t, demo)
  for (let guess = 1; guess <= 10; guess++) await signIn(page, { password: `guess ${guess}` })
  await signIn(page)
  t.match(await page.innerText('[role=alert]'), /^Too many wrong ones\. Try again in 1[45] minutes\.$/)
  await signIn(page, { name: 'bob' })
  t.equal(await page.innerText('h1'), 'Hello, Bob')
})

test('what is typed in is text on the page, and an address makes the page say nothing else', async (t) => {
  const demo = await startDemo(t)
  const page = await open(t, demo)
  const name = '"><img src=x onerror=alert(1)>'
  await page.fill('#username', name)
  await page.fill('#password', 'x')
  await page.click('main button')
  t.equal(await page.inputValue('#username'), name)
  t.equal(await page.locator('img').count(), 0)
  for (const say of ['<b>you won</b>', 'toString', '__proto__']) {
    await page.goto(`${demo.url}/sign-in?say=${encodeURIComponent(say)}`)
    t.equal(await page.locator('[role=status]').count(), 0)
  }
  await page.goto(`${demo.url}/sign-in?say=session-ended`)
  t.match(await page.innerText('[role=status]'), /your session ran out, or was ended/)
})

test('the policy of the pages refuses what is not the demo\'s own, which browsers complain about', async (t) => {
  const page = await open(t, await startDemo(t))
  await page.evaluate(`
    document.body.append(Object.assign(document.createElement('script'), { textContent: 'inline = true' }))
    document.body.append(Object.assign(document.createElement('img'), { src: 'http://evil.example/' }))
    document.querySelector('h1').setAttribute('style', 'color: red')`)
  t.equal(await page.evaluate('globalThis.inline'), undefined)
  const refused = complaints.splice(0).map((text) => /directive:? ["'](\w+-src)/.exec(text)?.[1])
  t.strictSame(refused.sort(), ['img-src', 'script-src', 'style-src'])
})

test('the page says which commands it took, and what Redis holds, without the secret or its hash', async (t) => {
  const redis = await startRedis(t)
  const demo = await startDemo(t, redis)
  const page = await openSignedIn(t, demo)
  const id = await page.getAttribute('body', 'data-session')
  const [{ value = '' } = {}] = await page.context().cookies()
  const [, secret = ''] = value.split('.')
  const stored = await redis.client.get(`sess:${id}`) ?? ''
  const { h: hash, s: lastUsed } = JSON.parse(stored.split('\n')[0] ?? '') as { h: string, s: number }
  // Alone, so that it shares no command with the request of its script.
  const text = await page.evaluate('fetch("/").then((response) => response.text())') as string
  t.match(text, />4 commands</)
  t.match(text, new RegExp(`GET sess:${id}`))
  t.match(text, String(lastUsed))
  t.match(text, /@sess:user:1/)
  t.ok(secret.length > 20 && hash.length > 20)
  t.notMatch(text, secret)
  t.notMatch(text, hash)

  const inMemory = await openSignedIn(t, await startDemo(t))
  t.match(await inMemory.innerText('.inside'), /0 commands\s+sessions live in memory/)
  t.match(await inMemory.innerText('.stored'), /secretHash\s+left out/)
})

test('without script everything works, by forms and links', async (t) => {
  const demo = await startDemo(t)
  const plain = { javaScriptEnabled: false }
  const page = await openSignedIn(t, demo, { userAgent: FIREFOX, ...plain })
  const other = await openSignedIn(t, demo, { userAgent: IPHONE, ...plain })
  await page.reload()
  t.strictSame(await devices(page), ['Safari 18 on iOS', 'Firefox 131 on Windows this device'])
  await page.click('#devices li button')
  t.equal(await page.innerText('[role=status]:visible'), 'That device is signed out.')
  await other.reload()
  t.equal(other.url(), `${demo.url}/sign-in?say=session-ended`)
  t.match(await other.innerText('[role=status]'), /You were signed out/)
  await signIn(other)
  t.equal(await other.innerText('h1'), 'Hello, Ada')

  await page.click('a[href="/email"]')
  await confirm(page)
  await page.fill('#email', 'countess@example.org')
  await page.click('main button')
  t.match(await page.innerText('.facts'), /countess@example\.org/)
  await page.click('#everywhere')
  t.match(await page.innerText('[role=status]'), /this one included/)
})

test('the keyboard is enough: every stop can be seen, and the focus stays when the list changes', async (t) => {
  const demo = await startDemo(t)
  const page = await open(t, demo, { userAgent: FIREFOX })
  /** Goes on until this has the focus. What has it on the way has an outline. */
  const tabTo = async (text: string): Promise<void> => {
    for (let stop = 0; stop < 20; stop++) {
      await page.keyboard.press('Tab')
      const [found, outline] = await page.evaluate(`(() => {
        const { activeElement } = document
        const { innerText } = activeElement.labels?.[0] ?? activeElement
        const { outlineStyle, outlineWidth } = getComputedStyle(activeElement)
        return [innerText.replace(/\\s+/g, ' '), outlineStyle + ' ' + outlineWidth]
      })()`) as [string, string]
      t.equal(outline, 'solid 3px', found)
      if (found.startsWith(text)) return
    }
    t.fail(`no way to ${text}`)
  }
  await tabTo('Skip to the content')
  await tabTo('Name')
  await page.keyboard.type('ada')
  await tabTo('Password')
  await page.keyboard.type('lovelace')
  await tabTo('Stay signed in')
  await page.keyboard.press('Space')
  await tabTo('Sign in')
  await page.keyboard.press('Enter')
  await page.waitForSelector('[data-live]')
  await openSignedIn(t, demo, { userAgent: IPHONE })
  await page.waitForSelector('#devices h3:has-text("iOS")')
  await tabTo('Skip to the content')
  await page.keyboard.press('Enter')
  await tabTo('Change')
  await tabTo('Sign out Safari 18 on iOS')
  await openSignedIn(t, demo, { userAgent: CHROME })
  await page.waitForSelector('#devices h3:has-text("macOS")')
  t.match(await page.evaluate('document.activeElement.innerText'), /Sign out\s+Safari 18 on iOS/)
  await page.keyboard.press('Enter')
  await page.waitForSelector('text=That device is signed out.')
  t.strictSame(await devices(page), ['Chrome 130 on macOS', 'Firefox 131 on Windows this device'])
})

/** Shows every page there is, one after the other. */
async function showAll (t: Test, look: (page: Page, name: string) => Promise<void>): Promise<void> {
  const redis = await startRedis(t)
  const demo = await startDemo(t, redis)
  const page = await open(t, demo)
  await look(page, 'sign in')
  await signIn(page, { password: 'wrong' })
  await look(page, 'wrong password')
  await signIn(page)
  const other = await openSignedIn(t, demo, { userAgent: IPHONE })
  await page.reload()
  await look(page, 'account')
  await page.goto(`${demo.url}/nothing`)
  await look(page, 'not found')
  await page.goto(`${demo.url}/email`)
  await look(page, 'code')
  await page.fill('#code', 'wrong')
  await page.click('main button')
  await look(page, 'wrong code')
  await confirm(page)
  await look(page, 'e-mail')
  await page.goto(demo.url)
  await page.click('#others')
  await look(page, 'others ended')
  await other.waitForSelector('h1:has-text("You are signed out")')
  await look(other, 'ended')
  redis.pause()
  await page.goto(demo.url)
  t.equal(await page.innerText('h1'), 'Back in a moment')
  await look(page, 'away')
  redis.resume()
}

test('axe finds nothing on any page, in light and in dark', async (t) => {
  let looks = 0
  await showAll(t, async (page, name) => {
    // The policy of a page does not hold for what the browser's own tools run in it.
    await page.evaluate(axe.source)
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      const { violations, passes } = await page.evaluate('axe.run()') as AxeResults
      t.strictSame(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), [], `${name}, ${colorScheme}`)
      t.ok(passes.some(({ id }) => id === 'color-contrast'))
      looks++
    }
    if (name !== 'sign in') return
    await page.evaluate("document.querySelector('label').remove()")
    t.match(await page.evaluate('axe.run()'), { violations: [{ id: 'label' }] })
    await page.reload()
  })
  t.equal(looks, 20)
})

test('on a phone no page is wider than the screen, and what is pressed is large enough', async (t) => {
  await showAll(t, async (page, name) => {
    for (const width of [320, 390]) {
      await page.setViewportSize({ width, height: 700 })
      t.equal(await page.evaluate('document.documentElement.scrollWidth'), width, `${name}, ${width}`)
    }
    for (const button of await page.locator('button:visible, .button:visible').all()) {
      t.ok((await button.boundingBox())?.height as number >= 44, name)
    }
  })
})

test('two demos on one Redis share sessions, ends of sessions and e-mail addresses', async (t) => {
  const redis = await startRedis(t)
  const [one, other] = await Promise.all([startDemo(t, redis), startDemo(t, redis)])
  const here = await openSignedIn(t, one, { userAgent: FIREFOX })
  const there = await openSignedIn(t, other, { userAgent: IPHONE })
  await here.waitForSelector('#devices h3:has-text("Safari 18 on iOS")')
  await here.click('a[href="/email"]')
  await confirm(here)
  await here.fill('#email', 'countess@example.org')
  await here.click('main button')
  await there.reload()
  t.match(await there.innerText('.facts'), /countess@example\.org/)
  await there.waitForSelector('[data-live]')
  await here.click('#others')
  await there.waitForSelector('h1:has-text("You are signed out")')
})

test('while Redis is away pages say so, and go on by themselves when it is back, with nobody signed out', async (t) => {
  const redis = await startRedis(t)
  const demo = await startDemo(t, redis)
  const page = await openSignedIn(t, demo)
  const plain = await openSignedIn(t, demo, { javaScriptEnabled: false })
  redis.pause()
  const answer = await page.goto(demo.url)
  t.equal(answer?.status(), 503)
  t.match(await page.innerText('main'), /Redis does not answer\. Nobody is signed out/)
  t.equal((await plain.reload())?.status(), 503)
  await plain.click('text=Try again')
  t.equal(await plain.innerText('h1'), 'Back in a moment')
  redis.resume()
  await page.waitForSelector('h1:has-text("Hello, Ada")')
  await plain.click('text=Try again')
  t.equal(await plain.innerText('h1'), 'Hello, Ada')
})

test('the pictures of the documentation: three devices on the page of one, on a phone, and a page whose session has ended', async (t) => {
  const redis = await startRedis(t)
  const demo = await startDemo(t, redis)
  const take = async (page: Page, name: string): Promise<void> => {
    const folder = process.env.SCREENSHOTS
    if (folder === undefined) return
    await mkdir(join(root, folder), { recursive: true })
    // The mouse is nowhere, and nothing has the focus.
    await page.mouse.move(0, 0)
    await page.evaluate('document.activeElement?.blur()')
    await writeFile(join(root, folder, `${name}.png`), smallPng(await page.screenshot()))
  }
  const screen = (width: number, height: number) => ({ viewport: { width, height } })

  const phone = await open(t, demo, { userAgent: IPHONE, deviceScaleFactor: 1.5, ...screen(390, 844) })
  await signIn(phone, { remember: true })
  await age(redis, 'Safari', { began: 3 * DAY + HOUR, ip: '203.0.113.7' })
  const firefox = await open(t, demo, { userAgent: FIREFOX, ...screen(1000, 660) })
  await take(firefox, 'sign-in')
  await signIn(firefox, { remember: true })
  await age(redis, 'Firefox', { began: 2 * HOUR, ip: '198.51.100.23' })
  const page = await open(t, demo, { userAgent: CHROME, ...screen(1100, 760) })
  await signIn(page, { remember: true })
  await age(redis, 'Chrome', { began: 4 * MINUTE, ip: '192.0.2.44' })
  const load = async (page: Page): Promise<number> => {
    await page.reload()
    await page.waitForSelector('[data-live]')
    return parseFloat(await page.innerText('.figures span:last-child'))
  }
  const look = async (page: Page, name: string): Promise<void> => {
    let ms = await load(page)
    // What is busy with other tests is this machine, and not the one of whoever looks at the picture.
    for (let tries = 0; ms > 5 && tries < 30 && process.env.SCREENSHOTS !== undefined; tries++) ms = await load(page)
    t.match(await devices(page), [/^Chrome 130 on macOS/, /^Firefox 131 on Windows/, /^Safari 18 on iOS/])
    const ago = await page.locator('#devices li p:last-child').allInnerTexts()
    t.match(ago, [/^since \d minutes ago/, /^since 2 hours ago/, /^since 3 days ago/])
    await take(page, name)
  }
  await age(redis, 'Firefox', { used: 12 * MINUTE })
  await look(phone, 'devices-phone')
  await age(redis, 'Safari', { used: 2 * HOUR })
  await look(page, 'devices')
  await page.click('#others')
  await firefox.waitForSelector('h1:has-text("You are signed out")')
  await take(firefox, 'ended')
})
