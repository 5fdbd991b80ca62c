import t from 'tap'
import { inRedis } from '../helpers/managers.ts'
import { operate } from '../helpers/operate.ts'
import { startRedis } from '../helpers/redis.ts'

const redis = await startRedis(t)
const env = { REDIS_URL: redis.url }

t.test('the sessions of a user are listed, newest first, over as many pages as there are', async (t) => {
  const { sessions, keyPrefix, age } = await inRedis(t, redis)
  const ids: string[] = []
  for (const label of ['first', 'second', 'third']) {
    await age(1000)
    const created = await Promise.all(Array.from({ length: 150 }, async () => await sessions.create({ userId: 'ada', label })))
    ids.push(...created.map(({ session }) => session.id))
  }
  await sessions.create({ userId: 'bob' })
  const { code, json } = await operate(['list', '--user', 'ada', '--json', '--prefix', keyPrefix], { env })
  t.equal(code, 0)
  t.strictSame(json().map(({ id }) => id).sort(), [...ids].sort())
  t.strictSame(json().map(({ label }) => label), ['third', 'second', 'first'].flatMap((label) => Array(150).fill(label)))
  const forPeople = await operate(['list', '--user', 'ada', '--prefix', keyPrefix], { env })
  t.equal(forPeople.out.trim().split('\n').length, 450)
  t.ok(forPeople.out.includes(ids[0] as string))

  const nobody = await operate(['list', '--user', 'mallory', '--prefix', keyPrefix], { env })
  t.match(nobody, { code: 1, out: '', err: 'no session\n' })
})

t.test('one session is shown, also an anonymous one, and never its data or its secret', async (t) => {
  const { sessions, store, keyPrefix } = await inRedis(t, redis)
  const { session, token } = await sessions.create({ userId: 'ada', label: 'Ada\'s laptop', meta: { plan: 'gold' }, data: { pin: 'only-hers' } })
  const shown = await operate(['show', session.id, '--prefix', keyPrefix], { env })
  t.equal(shown.code, 0)
  for (const text of [session.id, 'ada', 'Ada\'s laptop', '{"plan":"gold"}']) t.ok(shown.out.includes(text), text)
  const secret = token.split('.')[1] as string
  const asJson = await operate(['show', session.id, '--json', '--prefix', keyPrefix], { env })
  t.strictSame(asJson.json(), [{ session: JSON.parse(JSON.stringify(session)) }])
  for (const { out } of [shown, asJson]) t.notOk(out.includes('only-hers') || out.includes(secret))

  const [first] = [store.now()]
  const anonymous = { ...(await store.find(session.id)), id: 'a'.repeat(22), userId: null, authenticatedAt: null, createdAt: Math.floor(first) }
  await store.begin(anonymous as any)
  const nobodys = await operate(['show', 'a'.repeat(22), '--json', '--prefix', keyPrefix], { env })
  t.match(nobodys.json(), [{ session: { id: 'a'.repeat(22), userId: null } }])
  t.equal((await operate(['show', 'b'.repeat(22), '--prefix', keyPrefix], { env })).code, 1)
})

t.test('one session, or all of a user but one, are ended, and twice is harmless', async (t) => {
  const { sessions, keyPrefix } = await inRedis(t, redis)
  const ids: string[] = []
  for (let each = 0; each < 4; each++) ids.push((await sessions.create({ userId: 'ada' })).session.id)
  const bobs = (await sessions.create({ userId: 'bob' })).session.id
  const [one, kept] = ids as [string, string]
  const call = async (...args: string[]) => await operate(['revoke', ...args, '--json', '--prefix', keyPrefix], { env })
  t.match(await call(one), { code: 0, out: '{"ended":1}\n' })
  t.match(await call(one), { code: 1, out: '{"ended":0}\n' })
  t.match(await call('--user', 'ada', '--except', kept), { code: 0, out: '{"ended":2}\n' })
  t.match(await call('--user', 'ada', '--except', kept), { code: 1, out: '{"ended":0}\n' })
  t.strictSame((await sessions.listByUser('ada')).map(({ id }) => id), [kept])
  t.not(await sessions.get(bobs), null)
})

t.test('an id that begins with a dash is an id, and no option', async (t) => {
  const { sessions, store, keyPrefix } = await inRedis(t, redis)
  const { session } = await sessions.create({ userId: 'ada' })
  const stored = await store.find(session.id)
  for (const id of [`-${'x'.repeat(21)}`, `--${'y'.repeat(20)}`]) {
    await store.begin({ ...stored as any, id })
    t.equal((await operate(['show', id, '--prefix', keyPrefix], { env })).code, 0, id)
    t.match(await operate(['revoke', '--user', 'ada', '--except', id, '--prefix', keyPrefix], { env }), { err: '' })
    t.strictSame((await sessions.listByUser('ada')).map((each) => each.id), [id])
    t.equal((await operate(['revoke', id, '--prefix', keyPrefix], { env })).code, 0, id)
  }
})

t.test('what a terminal would obey is not printed, wherever it comes from', async (t) => {
  const { sessions, store, keyPrefix } = await inRedis(t, redis)
  const evil = '\u001b]0;owned\u0007\u001b[2J\u009b31m\u202egnp.exe\r\n\u2028'
  const { session } = await sessions.create({ userId: `ada${evil}`, label: evil, meta: { [evil]: evil } })
  await store.begin({ ...await store.find(session.id) as any, id: 'e'.repeat(22), ip: evil, userAgent: evil })
  const hostile = /[^\P{C}\n]|[\u2028\u2029]/u
  for (const args of [['list', '--user', `ada${evil}`], ['show', session.id], ['show', 'e'.repeat(22)], ['show', evil], [evil], ['list', `--${evil}`]]) {
    for (const json of [[], ['--json']]) {
      const { out, err } = await operate([...args, ...json, '--prefix', keyPrefix], { env, isTty: true })
      t.notOk(hostile.test(out + err), `${args.length} arguments ${json}`)
    }
  }
  const [{ label }] = (await operate(['list', '--user', `ada${evil}`, '--json', '--prefix', keyPrefix], { env })).json().filter(({ id }) => id === session.id)
  t.equal(label, session.label, 'programs read what is stored')
})
