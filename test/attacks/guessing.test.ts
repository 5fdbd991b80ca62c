// ASVS 5.0 6.1.1, 6.3.1, 6.3.8; NIST SP 800-63B-4 3.2.2; CVE-2026-45364
import t from 'tap'
import { inTurn, onBothPlaces, startGuessing, tally } from '../helpers/guesses.ts'
import { DAY, MINUTE } from '../helpers/record.ts'
import { prefix, startRedis } from '../helpers/redis.ts'
import { keysOf } from '../helpers/redis-store.ts'

const redis = await startRedis(t)
const both = onBothPlaces(t, redis)
const network = (index: number): string => `203.0.113.${index}`
const HOME = '192.0.2.7'

both('[6.3.1] fifty guesses at once are fifty guesses', async (t, { options }) => {
  const { guess, statusOf, looks } = await startGuessing(t, options, { hashMs: 30 })
  const replies = await Promise.all(Array.from({ length: 50 }, () => guess('ada', 'wrong')))
  t.strictSame(tally(replies.map(({ statusCode }) => statusCode)), { 401: 10, 429: 40 })
  t.equal(looks(), 10, 'and the others were not looked at')
  t.equal(await statusOf('ada', 'lovelace'), 429, 'also not when one is right')
  const refused = replies.find(({ statusCode }) => statusCode === 429)
  t.strictSame(refused?.json(), { statusCode: 429, code: 'ERR_SESSION_TOO_MANY_ATTEMPTS', error: 'Too Many Requests', message: 'Too many failed logins' })
  t.equal(refused?.headers['set-cookie'], undefined)
})

both('[6.3.1] fifty guesses at once, each from another network, are fifty guesses', async (t, { options }) => {
  const { statusOf, looks } = await startGuessing(t, options, { hashMs: 30, attempts: { account: { max: 7 } } })
  t.strictSame(tally(await Promise.all(Array.from({ length: 50 }, (_, index) => statusOf('ada', 'wrong', network(index))))), { 401: 7, 429: 43 })
  t.equal(looks(), 7)
})

both('[6.3.1] fifty accounts tried at once from one network are fifty guesses (stuffing)', async (t, { options }) => {
  const { statusOf, looks } = await startGuessing(t, options, { hashMs: 30, attempts: { network: { max: 7 } } })
  t.strictSame(tally(await Promise.all(Array.from({ length: 50 }, (_, index) => statusOf(`user ${index}`, '123456')))), { 401: 7, 429: 43 })
  t.equal(looks(), 7)
  t.equal(await statusOf('ada', 'wrong', HOME), 401, 'other networks go on')
})

t.test('[6.3.1] guesses spread over two processes are counted together', async (t) => {
  const options = { redis: redis.url, keyPrefix: prefix() }
  const [one, two] = [await startGuessing(t, options, { hashMs: 30 }), await startGuessing(t, options, { hashMs: 30 })]
  const statuses = await Promise.all(Array.from({ length: 50 }, (_, index) => (index % 2 === 0 ? one : two).statusOf('ada', 'wrong')))
  t.equal(one.looks() + two.looks(), tally(statuses)[401])
  t.ok(one.looks() + two.looks() <= 10)
  // Two that want the last slots of several counters at once may both be refused; whatever is left is left.
  await inTurn(20, (index) => (index % 2 === 0 ? one : two).statusOf('ada', 'wrong'))
  t.equal(one.looks() + two.looks(), 10)
})

both('[NIST 3.2.2] a hundred and one bad logins from as many networks are stopped well before a hundred', async (t, { options, age }) => {
  const { statusOf, looks } = await startGuessing(t, options)
  const statuses = await inTurn(101, async (index) => {
    await age(MINUTE)
    return await statusOf('ada', 'wrong', network(index))
  })
  t.strictSame(tally(statuses), { 401: 50, 429: 51 })
  t.equal(looks(), 50)
  t.equal(await statusOf('ada', 'lovelace', network(200)), 429)
  t.equal(await statusOf('bob', 'builder', network(200)), 200, 'nobody else is limited')
  await age(30 * DAY)
  t.equal(await statusOf('ada', 'lovelace', network(200)), 200, 'thirty days later it is forgotten')
})

both('[NIST 3.2.2] an attacker from elsewhere locks nobody out of where they are used to sign in, and one in the same network does, there alone', async (t, { options, age }) => {
  const { statusOf, looks } = await startGuessing(t, options)
  t.equal(await statusOf('ada', 'lovelace', HOME), 200)
  await age(29 * DAY)
  t.strictSame(tally(await inTurn(60, async (index) => await statusOf('ada', 'wrong', network(index)))), { 401: 50, 429: 10 })
  t.equal(await statusOf('ada', 'lovelace', network(100)), 429)
  const before = looks()
  t.strictSame(tally(await inTurn(12, async () => await statusOf('ada', 'wrong', HOME))), { 401: 10, 429: 2 }, 'guessing there is limited as anywhere')
  t.equal(looks() - before, 10)
  t.equal(await statusOf('ada', 'lovelace', HOME), 429, 'whoever did it')
  await age(15 * MINUTE)
  t.equal(await statusOf('ada', 'lovelace', HOME), 200)
  t.equal(await statusOf('ada', 'lovelace', network(100)), 200, 'who has signed in has no failed logins in a row')
})

both('[NIST 3.2.2] a network is forgotten thirty days after the account signed in there last', async (t, { options, age }) => {
  const { statusOf } = await startGuessing(t, options, { attempts: { account: { max: 3, within: '90d' } } })
  t.equal(await statusOf('ada', 'lovelace', HOME), 200)
  await inTurn(4, async (index) => await statusOf('ada', 'wrong', network(index)))
  await age(29 * DAY)
  t.equal(await statusOf('ada', 'wrong', HOME), 401)
  await age(DAY)
  t.equal(await statusOf('ada', 'lovelace', HOME), 429)
})

both('[NIST 3.2.2] of the networks of an account the newest twenty are known', async (t, { options, age }) => {
  const { statusOf } = await startGuessing(t, options, { attempts: { account: { max: 1 } } })
  for (let index = 0; index < 21; index++) {
    t.equal(await statusOf('ada', 'lovelace', network(index)), 200)
    await age(MINUTE)
  }
  t.equal(await statusOf('ada', 'wrong', HOME), 401)
  t.strictSame(tally(await inTurn(21, async (index) => await statusOf('ada', 'wrong', network(index)))), { 401: 20, 429: 1 })
  t.equal(await statusOf('ada', 'lovelace', network(0)), 429, 'the oldest')
  t.equal(await statusOf('ada', 'lovelace', network(1)), 200)
})

both('[6.3.1] who is refused for the network takes no slots of the account', async (t, { options }) => {
  const { statusOf } = await startGuessing(t, options)
  await inTurn(60, async () => await statusOf('ada', 'wrong'))
  t.strictSame(tally(await inTurn(41, async (index) => await statusOf('ada', 'wrong', network(index)))), { 401: 40, 429: 1 }, 'ten of the fifty are gone')
})

both('[6.3.1] who is refused for an account takes no slots of the network', async (t, { options }) => {
  const { statusOf } = await startGuessing(t, options, { attempts: { network: { max: 15 } } })
  t.strictSame(tally(await inTurn(30, async () => await statusOf('ada', 'wrong'))), { 401: 10, 429: 20 })
  t.strictSame(tally(await inTurn(6, async () => await statusOf('bob', 'wrong'))), { 401: 5, 429: 1 })
})

both('[6.3.1] signing in to an account of one\'s own buys no guesses at others', async (t, { options }) => {
  const { statusOf } = await startGuessing(t, options, { attempts: { network: { max: 5 } } })
  t.strictSame(tally(await inTurn(4, async (index) => await statusOf(`user ${index}`, '123456'))), { 401: 4 })
  t.equal(await statusOf('mallory', 'mine'), 200)
  t.strictSame(tally(await inTurn(4, async (index) => await statusOf(`another ${index}`, '123456'))), { 401: 1, 429: 3 })
})

both('[6.3.1] failed logins count in a row: a right password begins anew', async (t, { options }) => {
  const { statusOf } = await startGuessing(t, options, { attempts: { network: { max: 12 } } })
  for (let round = 0; round < 8; round++) {
    t.strictSame(tally(await inTurn(9, async () => await statusOf('ada', 'wrong'))), { 401: 9 })
    t.equal(await statusOf('ada', 'lovelace'), 200)
  }
})

both('[6.3.1, CVE-2026-45364] all addresses of one IPv6 network are one', async (t, { options }) => {
  const { statusOf } = await startGuessing(t, options)
  const addresses = (index: number): string => ['2001:db8:1:2::', '2001:0DB8:0001:0002:ffff:0:0:'][index % 2] + index.toString(16)
  t.strictSame(tally(await inTurn(12, async (index) => await statusOf('ada', 'wrong', addresses(index)))), { 401: 10, 429: 2 })
  t.equal(await statusOf('ada', 'wrong', '2001:db8:1:3::1'), 401, 'the next network is another')
})

both('[6.3.1, CVE-2026-45364] an IPv4 address is one, also in the clothes of IPv6', async (t, { options }) => {
  const { statusOf } = await startGuessing(t, options)
  const addresses = ['1.2.3.4', '::ffff:1.2.3.4', '::ffff:102:304', '0:0:0:0:0:FFFF:1.2.3.4', '64:ff9b::1.2.3.4']
  t.strictSame(tally(await inTurn(12, async (index) => await statusOf('ada', 'wrong', addresses[index % addresses.length]))), { 401: 10, 429: 2 })
  t.equal(await statusOf('ada', 'wrong', '::ffff:1.2.3.5'), 401)
})

both('[6.3.1] one name counts once, however it is typed', async (t, { options }) => {
  const { statusOf } = await startGuessing(t, options)
  const names = ['ada', 'Ada', 'ada ', ' ADA', 'ａｄａ', 'a\u200bda', 'ada\u0000', 'a\u00adda', 'ada\ufe0f', 'a\u{e0100}da', 'ad\u034fa', '\u115fada', 'ada\u1160', 'ada\u3164', 'ad\uffa0a', '\u2800ada', 'a\u180bda', '\u2065ada', 'ada\u17b4']
  t.strictSame(tally(await inTurn(names.length + 2, async (index) => await statusOf(names[index % names.length], 'wrong'))), { 401: 10, 429: names.length - 8 })
  t.equal(await statusOf('adah', 'wrong'), 401)
  const others = ['odysseüς', 'ODYSSEÜΣ', 'odysse\u0075\u0308σ', 'odysseu\u2060\u0308ς', 'odysseu\ufe0f\u0308σ\u3164']
  t.strictSame(tally(await inTurn(12, async (index) => await statusOf(others[index % others.length], 'wrong', HOME))), { 401: 10, 429: 2 })
  const german = ['weiß', 'WEISS', 'weiss', 'WEIẞ', 'wei\u00adß']
  t.strictSame(tally(await inTurn(12, async (index) => await statusOf(german[index % german.length], 'wrong', '203.0.113.9'))), { 401: 10, 429: 2 })
})

both('[6.3.8] an unknown user and a wrong password cannot be told apart, limited or not', async (t, { options }) => {
  const { guess } = await startGuessing(t, options)
  for (let index = 0; index < 12; index++) {
    const [known, unknown] = await Promise.all([guess('ada', 'wrong', HOME), guess('nobody', 'wrong', HOME)])
    t.equal(known.statusCode, index < 10 ? 401 : 429)
    t.equal(unknown.statusCode, known.statusCode)
    t.strictSame(unknown.rawPayload, known.rawPayload)
    // By the seconds the two may differ by one.
    for (const { headers } of [known, unknown]) if (index >= 10) t.ok(Number(headers['retry-after']) > 880 && Number(headers['retry-after']) <= 900)
    t.strictSame({ ...unknown.headers, date: '', 'retry-after': '' }, { ...known.headers, date: '', 'retry-after': '' })
  }
})

both('[6.3.1] Retry-After is true', async (t, { options, age }) => {
  const { guess, statusOf } = await startGuessing(t, options)
  await inTurn(10, async () => {
    await age(1000)
    return await guess('ada', 'wrong')
  })
  const seconds = Number((await guess('ada', 'lovelace')).headers['retry-after'])
  t.ok(Number.isInteger(seconds) && seconds <= 891 && seconds > 850, String(seconds))
  await age((seconds - 30) * 1000)
  t.equal(await statusOf('ada', 'lovelace'), 429)
  await age(30_000)
  t.equal(await statusOf('ada', 'lovelace'), 200)
})

both('[6.3.1] Retry-After is true where two limits are reached', async (t, { options, age }) => {
  const { guess, statusOf } = await startGuessing(t, options, { attempts: { account: { max: 11, within: '1h' } } })
  await inTurn(10, async () => await guess('ada', 'wrong'))
  await guess('ada', 'wrong', HOME)
  const seconds = Number((await guess('ada', 'lovelace')).headers['retry-after'])
  t.ok(seconds > 3500 && seconds <= 3600, String(seconds))
  await age(15 * MINUTE)
  t.equal(await statusOf('ada', 'lovelace'), 429)
  await age(seconds * 1000 - 15 * MINUTE)
  t.equal(await statusOf('ada', 'lovelace'), 200)
})

both('[6.3.1] the same guesses are counted for a token', async (t, { options }) => {
  const { guess, looks } = await startGuessing(t, { ...options, bearer: true })
  const statuses = await inTurn(12, async (index) => (await guess('ada', 'wrong', HOME, index % 2 === 0 ? '/token' : '/login')).statusCode)
  t.strictSame(tally(statuses), { 401: 10, 429: 2 })
  t.equal(looks(), 10)
})

both('[6.3.1] a forged X-Forwarded-For is no other network, unless it comes from a trusted proxy', async (t, { options }) => {
  for (const trustProxy of [false, '10.0.0.1']) {
    const { app } = await startGuessing(t, { ...options, ...options.store !== undefined && { cookieName: `sid${String(trustProxy)}` } }, { server: { trustProxy } })
    const statuses = await inTurn(12, async (index) => (await app.inject({ method: 'POST', url: '/login', remoteAddress: trustProxy === false ? HOME : '10.0.0.1', headers: { 'x-forwarded-for': network(index) }, payload: { username: 'bob', password: 'wrong' } })).statusCode)
    t.strictSame(tally(statuses), trustProxy === false ? { 401: 10, 429: 2 } : { 401: 12 })
  }
})

both('[6.3.1] names that are none are counted, and break nothing', async (t, { options }) => {
  const { app } = await startGuessing(t, options)
  app.post<{ Body: { name: unknown } }>('/sign-in', async (request) => ({ user: await app.attemptLogin(request, request.body.name as string, () => null) }))
  const names: unknown[] = ['x'.repeat(100_000), 'ﷺ'.repeat(30_000), '\u0000', '\ud800', '', ' ', 0, -1.5, 1e21, true, {}, [], ['ada'], [['ada']], { toString: 1 }, null, 'ада', '@home', '/', 'a/b']
  for (const [index, name] of names.entries()) {
    const response = await app.inject({ method: 'POST', url: '/sign-in', remoteAddress: network(index), payload: { name } })
    t.equal(response.statusCode, 200, JSON.stringify(name).slice(0, 20))
  }
  const many = await inTurn(12, async (index) => (await app.inject({ method: 'POST', url: '/sign-in', remoteAddress: HOME, payload: { name: index % 2 === 0 ? 'bob' : ['bob'] } })).statusCode)
  t.strictSame(tally(many), { 200: 10, 429: 2 }, 'an array with a name in it is that name, as a database may see it')
})

t.test('[6.3.1] no guess is looked at while it cannot be counted', async (t) => {
  const server = await startRedis(t)
  const { guess, looks } = await startGuessing(t, { redis: server.url, keyPrefix: prefix() })
  t.equal((await guess('ada', 'wrong')).statusCode, 401)
  await server.client.config('SET', 'maxmemory-policy', 'noeviction', 'maxmemory', '1')
  const full = await guess('ada', 'lovelace')
  t.equal(full.statusCode, 503)
  t.equal(full.json().code, 'ERR_SESSION_STORE_FULL')
  await server.client.config('SET', 'maxmemory', '0')
  t.equal((await guess('ada', 'wrong')).statusCode, 401)
  server.pause()
  const frozen = await guess('ada', 'lovelace')
  t.equal(frozen.json().code, 'ERR_SESSION_STORE_UNAVAILABLE')
  t.equal(frozen.headers['retry-after'], '1')
  server.resume()
  await server.stop()
  const down = await guess('ada', 'lovelace')
  t.equal(down.json().code, 'ERR_SESSION_STORE_UNAVAILABLE')
  t.equal(looks(), 2)
})

t.test('[6.1.1] what Redis holds of guesses names nobody, and goes by itself', async (t) => {
  const keyPrefix = prefix()
  const { statusOf } = await startGuessing(t, { redis: redis.url, keyPrefix })
  await inTurn(12, async (index) => await statusOf(index % 2 === 0 ? 'Charles-Babbage' : 'ada', 'wrong-pass', HOME))
  await statusOf('ada', 'lovelace', HOME)
  const keys = (await keysOf(redis.client, keyPrefix)).filter((key) => key.startsWith('@') && key.includes('tries:'))
  t.strictSame(keys.map((key) => key.slice(0, key.lastIndexOf(':'))).sort(), ['account', 'account', 'account-network', 'network'].map((what) => `@${keyPrefix}tries:${what}`))
  const held: string[] = [...keys]
  for (const key of keys) {
    t.ok(await redis.client.pttl(key) > 0, key)
    held.push(...await redis.client.zrange(key, '0', '-1'))
  }
  t.notMatch(held.join('\n'), /babbage|ada|wrong|lovelace|192/i)
})

t.test('[6.1.1] guesses at names that nobody has leave nothing behind for longer than they count', async (t) => {
  const keyPrefix = prefix()
  const { statusOf } = await startGuessing(t, { redis: redis.url, keyPrefix }, { attempts: { network: { within: '1s' }, accountNetwork: { within: '2s' }, account: { within: '3s' } } })
  await inTurn(5, async (index) => await statusOf(`nobody ${index}`, 'wrong', network(index)))
  const ttls = await Promise.all((await keysOf(redis.client, keyPrefix)).map(async (key) => [/tries:([\w-]+)/.exec(key)?.[1], await redis.client.pttl(key)] as const))
  t.equal(ttls.length, 15)
  const longest: Record<string, number> = { network: 1000, 'account-network': 2000, account: 3000 }
  // What has gone meanwhile says -2.
  for (const [what = '', ttl] of ttls) t.ok(ttl !== -1 && ttl <= (longest[what] ?? 0), `${what} ${ttl}`)
})
