import t from 'tap'
import { authRoutes } from '../../lib/index.ts'
import { newId, newToken } from '../../lib/session/token.ts'
import { Browser, startApp } from '../helpers/app.ts'
import { replaceRandomSource } from '../helpers/random-source.ts'
import { report, times } from '../helpers/scale.ts'
import { SpyStore } from '../helpers/spy-store.ts'

t.test('[7.2.2, 7.2.3] no two tokens are the same, in id or in secret, and each holds 320 bits', async (t) => {
  const count = times(1_000_000)
  const ids = new Set<string>()
  const secrets = new Set<string>()
  const bits = Array.from({ length: 40 * 8 }, () => 0)
  for (let index = 0; index < count; index++) {
    const { token } = newToken(newId())
    const [id = '', secret = ''] = token.split('.')
    ids.add(id)
    secrets.add(secret)
    if (index % 100 > 0) continue
    for (const [byte, value] of Buffer.concat([Buffer.from(id, 'base64url'), Buffer.from(secret, 'base64url')]).entries()) {
      for (let bit = 0; bit < 8; bit++) if ((value >> bit & 1) === 1) bits[byte * 8 + bit] = (bits[byte * 8 + bit] ?? 0) + 1
    }
  }
  t.equal(ids.size, count)
  t.equal(secrets.size, count)
  // Each bit is set in about half: seven standard deviations are none in a lifetime.
  const looked = Math.ceil(count / 100)
  t.ok(bits.every((set) => Math.abs(set - looked / 2) < 3.5 * Math.sqrt(looked)), 'and no bit of them is always the same')
  report({ scenario: 'tokens drawn, none twice', on: 'this process', tries: count, lost: 2 * count - ids.size - secrets.size })
})

t.test('[7.2.3] Math.random has no part in a token', async (t) => {
  const { random } = Math
  t.teardown(() => { Math.random = random })
  Math.random = () => 0.5
  const tokens = Array.from({ length: 100 }, () => newToken(newId()).token)
  t.equal(new Set(tokens.map((token) => token.slice(23))).size, 100)
  t.equal(new Set(tokens.map((token) => token.slice(0, 22))).size, 100)
})

for (const [what, fails] of Object.entries({ 'at the first draw': 0, 'at the second': 1 })) {
  t.test(`[7.2.3, 16.5] a random source that fails ${what} fails the sign-in, and no weaker token is made`, async (t) => {
    const store = new SpyStore()
    const app = await startApp(t, { store, bearer: true, attempts: false })
    await app.register(authRoutes, { verify: () => ({ id: 'ada' }) })
    app.post('/assign', async ({ session }) => { session.userId = 'ada' })
    app.post('/cart', async ({ session }) => { session.cart = ['book'] })
    app.post('/move', async ({ session }) => {
      session.cart = ['two books']
      await session.regenerate(['cart'])
    })
    const ada = new Browser(app)
    await ada.post('/login', { username: 'ada', password: 'x' })
    const [before] = [...ada.cookies.values()]
    for (const url of ['/login', '/token', '/assign', '/cart', '/move']) {
      const browser = url === '/move' ? ada : new Browser(app)
      let draws = 0
      const restore = replaceRandomSource((size) => {
        // Ids of anything else, such as a failed login, are drawn as ever.
        if (size !== 16 && size !== 24) return Buffer.from(crypto.getRandomValues(new Uint8Array(size)))
        if (draws++ < fails) return Buffer.alloc(size, 7)
        throw new Error('no entropy')
      })
      const response = await browser.post(url, { username: 'ada', password: 'x' })
      restore()
      t.ok(draws > 0, url)
      t.equal(response.statusCode, 500, url)
      t.strictSame(response.setCookies, [], url)
      t.notMatch(response.body, /fus_/)
    }
    t.equal((await app.sessions.listByUser('ada')).length, 1, 'nobody was signed in')
    t.equal(store.calls.filter((each) => each === 'begin').length, 1, 'and nothing stored')
    t.equal([...ada.cookies.values()][0], before)
    t.equal((await ada.get('/info')).json().authenticated, true, 'who is signed in stays so')
  })
}
