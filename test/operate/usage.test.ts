import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { COMMON } from '../../lib/operate/arguments.ts'
import { COMMANDS } from '../../lib/operate/commands/all.ts'
import { targetOf } from '../../lib/operate/target.ts'
import { operate } from '../helpers/operate.ts'
import { root } from '../helpers/process.ts'

// Nobody listens there: what is asked of Redis ends with 3.
const env = { REDIS_URL: 'redis://127.0.0.1:1' }
const id = 'x'.repeat(22)
const token = `${id}.${'s'.repeat(32)}`

t.test('what is not understood ends with 2, says what to write, and never reaches Redis', async (t) => {
  const wrong: Array<[string[], RegExp]> = [
    [['lst'], /one of why, list, show/],
    [['unlock'], /name of the account/],
    [['why', '--cookie-name', 'a,'], /empty name/],
    [['list'], /needs --user/],
    [['list', '--usr', 'ada'], /no option --usr here. There are --user/],
    [['list', '--user'], /--user needs a value/],
    [['list', '--user='], /--user is empty/],
    [['list', '--user', '-5'], /--user needs a value. One that begins with a dash is written --user=…/],
    [['list', '--user', 'ada', '--user', 'bob'], /--user stands twice/],
    [['list', '--user', 'a'.repeat(256)], /1 to 255/],
    [['list', 'ada'], /list takes options alone/],
    [['list', '--user', 'ada', '--json=yes'], /--json takes no value/],
    [['show'], /id of a session is missing/],
    [['show', ''], /an argument is empty/],
    [['show', 'ada'], /22 characters/],
    [['show', id, id], /show takes ID alone/],
    [['revoke'], /say what to end/],
    [['revoke', id, '--user', 'ada'], /say what to end/],
    [['revoke', id, '--except', id], /--except needs --user/],
    [['revoke', '--user', 'ada', '--except', 'hers'], /22 characters/],
    [['revoke', '--all', '--user', 'ada'], /say what to end/],
    [['revoke', '--all'], /nobody is there to answer: write --yes/],
    [['revoke', id, '--yes'], /--yes needs --all/],
    [['revoke', '--older-than', '30'], /--older-than must be a time such as 30d/],
    [['revoke', '--older-than', 'soon'], /--older-than must be/],
    [['revoke', '--older-than=-1d'], /--older-than must be positive/],
    [['revoke', id, '--reason', 'x'.repeat(65)], /--reason must/],
    [['revoke', id, '--actor', 'a\nb'], /--actor must/],
    [['list', '--user', 'ada', '--sentinel', 'mymaster', '--cluster'], /not both/],
    [['list', '--user', 'ada', '--redis', 'localhost'], /--redis must be a URL/],
    [['list', '--user', 'ada', '--redis', 'redis://h/x'], /--redis must have the number/],
    [['list', '--user', 'ada', '--redis', 'redis://h/1', '--cluster'], /no database but 0/]
  ]
  for (const [argv, says] of wrong) {
    const { code, out, err } = await operate(argv, { env })
    t.equal(code, 2, argv.join(' '))
    t.equal(out, '')
    t.match(err, says, argv.join(' '))
    const asJson = await operate([...argv, '--json'], { env })
    if (!argv.includes('--json=yes')) t.match(asJson, { code: 2, err: '', out: /^\{"error":\{"code":"usage","message":".*"\}\}\n$/ }, argv.join(' '))
  }
  t.match(await operate(['list', '--user', 'ada']), { code: 2, err: /set REDIS_URL/ })
  t.match(await operate(['list', '--user', 'ada', '--redis', ' , ']), { code: 2, err: /set REDIS_URL/ })
})

t.test('a password or a token among the arguments is refused, and not repeated', async (t) => {
  for (const argv of [
    ['list', '--user', 'ada', '--redis', 'redis://:hunter2@127.0.0.1:1'],
    ['list', '--user', 'ada', '--redis', 'redis://127.0.0.1:1,redis://ada:hunter2@127.0.0.1:2'],
    ['list', '--user', 'ada', '--redis', 'hunter2@127.0.0.1'],
    ['list', '--hunter=hunter2', '--user', 'ada']
  ]) {
    const { code, out, err } = await operate(argv)
    t.equal(code, 2)
    t.notOk((out + err).includes('hunter2'), argv.join(' '))
  }
  t.match((await operate(['list', '--user', 'ada', '--redis', 'redis://:hunter2@h'])).err, /REDIS_PASSWORD/)
  for (const each of [token, `${token}.${'m'.repeat(43)}`, `fus_${token}.check1`, `sid=${token}.${'m'.repeat(43)}`, `Cookie: a=b; sid=${token}`]) {
    for (const argv of [['show', each], ['revoke', each], [`--user=${each}`], ['list', '--user', each]]) {
      const { code, out, err } = await operate(argv, { env })
      t.equal(code, 2)
      t.notOk((out + err).includes('s'.repeat(32)), argv.join(' '))
    }
  }
  t.match((await operate(['show', token], { env })).err, /standard input/)
})

t.test('the Redis that the options and the environment name', async (t) => {
  const redisOf = (values: object, env: Record<string, string> = {}) => targetOf({ redis: 'redis://h', ...values } as any, env).redis
  const signIn = { REDIS_USERNAME: 'ops', REDIS_PASSWORD: 'hunter2' }
  t.strictSame(redisOf({}), { host: 'h', port: 6379 })
  t.strictSame(redisOf({ redis: 'rediss://h:1/2' }, signIn), { host: 'h', port: 1, tls: {}, db: 2, username: 'ops', password: 'hunter2' })
  t.strictSame(targetOf({}, { REDIS_URL: 'redis://app:from-url@h', ...signIn }).redis, { host: 'h', port: 6379, username: 'app', password: 'from-url' })
  t.strictSame(redisOf({ redis: 'unix:///run/redis.sock' }), { path: '/run/redis.sock' })
  t.strictSame(redisOf({ cluster: true }, signIn), { cluster: [{ host: 'h', port: 6379 }], username: 'ops', password: 'hunter2' })
  t.strictSame(redisOf({ redis: 'rediss://a, rediss://b:2' }), { cluster: [{ host: 'a', port: 6379 }, { host: 'b', port: 2 }], tls: {} })
  const sentinels = [{ host: 'a', port: 26379 }, { host: 'b', port: 2 }]
  t.strictSame(redisOf({ redis: 'redis://a,redis://b:2', sentinel: 'mymaster' }), { name: 'mymaster', sentinels })
  t.strictSame(redisOf({ redis: 'rediss://a,rediss://b:2/3', sentinel: 'mymaster' }, { ...signIn, REDIS_SENTINEL_USERNAME: 'watch', REDIS_SENTINEL_PASSWORD: 'out' }), {
    name: 'mymaster', sentinels, tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true, sentinelUsername: 'watch', sentinelPassword: 'out', db: 3, username: 'ops', password: 'hunter2'
  })
  t.match(targetOf({ redis: 'redis://h' }, signIn), { prefix: 'sess:', where: 'h:6379' })
  t.match(targetOf({ prefix: 'app:' }, { REDIS_URL: 'redis://:hunter2@h' }), { prefix: 'app:', where: 'h:6379' })
})

t.test('--help names every command and every option, --version the version', async (t) => {
  const { code, out } = await operate(['--help'])
  t.equal(code, 0)
  for (const { name, summary } of COMMANDS) t.ok(out.includes(name) && out.includes(summary), name)
  for (const name of Object.keys(COMMON)) t.ok(out.includes(`--${name}`), name)
  for (const { name, options } of COMMANDS) {
    const help = await operate([name, '--help'])
    t.equal(help.code, 0)
    for (const option of Object.keys({ ...options, ...COMMON })) t.ok(help.out.includes(`--${option}`), `${name} --${option}`)
    t.ok(help.out.split('\n').every((line) => line.length <= 110), `${name}: lines that fit`)
  }
  t.match(await operate([]), { code: 2, out: /^Usage: / })
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  t.match(await operate(['--version']), { code: 0, out: `${version}\n` })
})
