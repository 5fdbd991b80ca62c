import fc from 'fast-check'
import t from 'tap'
import { deviceName, knownDeviceName } from '../../lib/session/device.ts'

const KNOWN: Array<[name: string, userAgent: string]> = [
  ['Firefox 131 on Windows', 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:131.0) Gecko/20100101 Firefox/131.0'],
  ['Chrome 130 on Android', 'Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36'],
  ['Safari 18 on iOS', 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1'],
  ['Safari 17 on macOS', 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15'],
  ['Microsoft Edge 130 on Windows', 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 Edg/130.0.2849.56'],
  ['Chrome 129 on Linux', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36'],
  ['Firefox on Windows', 'Mozilla/5.0 (Windows NT 10.0) Firefox/<b>1</b>']
]

t.test('a browser is named by what it is and what it runs on', async (t) => {
  for (const [name, userAgent] of KNOWN) t.equal(deviceName(userAgent), name)
})

t.test('a program that is no browser is named by what it says of itself', async (t) => {
  for (const userAgent of ['curl/8.5.0', 'node', 'okhttp/4.12.0', '__proto__', 'constructor', '<script>alert(1)</script>']) t.equal(deviceName(userAgent), userAgent)
  const robot = 'Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)'
  t.equal(deviceName(robot), robot.slice(0, 40), 'also one that is known, but runs on nothing that is')
  t.equal(deviceName(''), '')
})

t.test('a name has at most 40 characters, however long the header', async (t) => {
  t.equal(deviceName('x'.repeat(40)), 'x'.repeat(40))
  for (const length of [41, 512, 513, 100_000]) t.equal(deviceName('x'.repeat(length)), 'x'.repeat(40))
  const samsung = 'Mozilla/5.0 (Linux; Android 10; SAMSUNG SM) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/23.0 Chrome/115.0.0.0 Mobile Safari/537.36'
  t.equal(deviceName(samsung), 'Samsung Internet for Android 23 on Android'.slice(0, 40))
})

t.test('what comes after 512 characters is not read', async (t) => {
  const [, firefox = ''] = KNOWN[0] ?? []
  t.equal(deviceName(firefox.padEnd(100_000)), 'Firefox 131 on Windows')
  t.equal(deviceName(`${'x'.repeat(512)} ${firefox}`), 'x'.repeat(40))
})

t.test('no name moves the cursor, turns the writing around or hides in a log', async (t) => {
  t.equal(deviceName('robot\u0000\u001b[31m\r\nSet-Cookie: x'), 'robot[31mSet-Cookie: x')
  t.equal(deviceName('a\tb\u007fc\u0085d\u009be\u202ef\u200bg\u2066h\ufeff'), 'abcdefgh')
})

t.test('no character is cut in half', async (t) => {
  t.equal(deviceName(`${'x'.repeat(39)}😀`), 'x'.repeat(39))
  t.equal(deviceName(`${'x'.repeat(38)}😀`), `${'x'.repeat(38)}😀`)
  t.equal(deviceName('😀'.repeat(300)), '😀'.repeat(20))
  t.equal(deviceName('robot \ud83d'), 'robot ')
})

t.test('any header has a name that can be shown', async (t) => {
  const words = fc.constantFrom('Mozilla/5.0', '(Windows NT 10.0;', '(iPhone;', 'Version/', 'Chrome/', 'Firefox/', 'Safari', '(', ')', ';', '/', '.', '\u0000', '😀', ' ')
  const header = fc.oneof(fc.string({ unit: 'binary', maxLength: 2000 }), fc.array(fc.oneof(words, fc.string({ maxLength: 5 }))).map((each) => each.join(' ')))
  fc.assert(fc.property(header, (userAgent) => {
    const name = deviceName(userAgent)
    return name.length <= 40 && !/[\p{Cc}\p{Cf}\p{Cs}]/u.test(name)
  }), { numRuns: 2000 })
  t.pass('none threw')
})

t.test('where only what is recognised may be named, no text of a client is', async (t) => {
  for (const [name, userAgent] of KNOWN) t.equal(knownDeviceName(userAgent), name)
  for (const userAgent of ['', 'curl/8.5.0', 'my-secret-token', 'my-secret/1 (Windows NT 10.0)', 'Firefox my-secret', '__proto__']) t.equal(knownDeviceName(userAgent), null)
  fc.assert(fc.property(fc.string({ minLength: 1 }), fc.string(), (name, rest) => !`${knownDeviceName(`${name}/${rest} (X11; Linux x86_64) my-secret`)}`.includes('my-secret')))
})
