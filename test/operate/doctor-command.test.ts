import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { neededRules } from '../../lib/redis/needs.ts'
import { operate } from '../helpers/operate.ts'
import { prefix, startRedis } from '../helpers/redis.ts'

const redis = await startRedis(t, { args: ['--maxmemory', '100mb', '--save', '3600 1'] })
const doctor = async (...args: string[]) => await operate(['doctor', '--redis', redis.url, '--prefix', prefix(), ...args])

t.test('a Redis that is well is exit code 0, one with a finding is 1, and each finding says what to do', async (t) => {
  const well = await doctor()
  t.equal(well.code, 0)
  t.match(well.out, /^ok {7}version {6}\S.*\nok/)
  t.match(well.out, /\nnote {5}persistence {2}snapshots only: .*\n {22}→ Switch on .*\n/)
  t.match(well.out, /\n\nNothing that needs you\n$/)
  await redis.client.config('SET', 'maxmemory-policy', 'allkeys-lru')
  t.teardown(() => redis.client.config('SET', 'maxmemory-policy', 'noeviction'))
  const unwell = await doctor()
  t.equal(unwell.code, 1)
  t.match(unwell.out, /\nwarning {2}eviction .*allkeys-lru.*\n {22}→ Set it to noeviction or volatile-ttl\n/)
  t.match(unwell.out, /\n\n0 problems, 1 warning\n$/)
  const [report] = (await doctor('--json')).json()
  t.match(report, { findings: [{ level: 'ok', topic: 'version', todo: null }] })
})

t.test('what the application uses is named, and what is not known is refused', async (t) => {
  t.match(await doctor('--options', 'durability, events'), { code: 1, out: /problem .*with durability replicated/ })
  t.match(await doctor('--options', 'events'), { code: 0 })
  for (const name of ['endedFor', 'knownDevices']) t.equal((await doctor('--options', name)).code, 0, name)
  for (const names of ['nearcache', 'nearCache;durability', 'cluster', '__proto__']) {
    const { code, err } = await doctor('--options', names)
    t.equal(code, 2, names)
    t.match(err, /--options takes adopt, .*events, .*nearCache, .*knownDevices/)
    t.equal(err.match(/events/g)?.length, 1)
    t.notMatch(err, names)
  }
})

t.test('a user who may nearly nothing gets findings, and no failure', async (t) => {
  await redis.client.call('ACL', 'SETUSER', 'few', 'on', '>of-the-tests', 'nocommands')
  const { code, out } = await doctorAs('few')
  t.equal(code, 1)
  t.match(out, /problem {2}rights .*may not EVAL/)
})

t.test('what Redis says cannot command a terminal', async (t) => {
  const name = 'ev\u001b]0;il\u202e'
  const { out } = await doctor('--acl-user', name)
  t.match(out, 'there is no user ev\\u001b]0;il\\u202e')
  t.notOk(['\u001b', '\u202e'].some((character) => out.includes(character)))
})

t.test('what the guide shows is what it prints', async (t) => {
  const page = await readFile(join(import.meta.dirname, '../../docs/guides/production.md'), 'utf8')
  const [, options = '', shown = ''] = /doctor (--options \S+)\n([^`]+)```/.exec(page) ?? []
  const { keys, channels, commands } = neededRules({ prefix: 'sess:', uses: ['nearCache', 'durability'] })
  await redis.client.call('ACL', 'SETUSER', 'sessions', 'on', '>of-the-tests', ...keys, ...channels, ...commands, '-zrank')
  await redis.client.config('SET', 'maxmemory-policy', 'allkeys-lru')
  t.teardown(() => redis.client.config('SET', 'maxmemory-policy', 'noeviction'))
  const { out } = await doctorAs('sessions', ...options.split(' '))
  const lines = shown.trimEnd().split('\n')
  t.equal(lines.length, 6)
  const said = out.replace(/^(ok {7}version {6})\S.*$/m, '$1Redis 7.0.15').split('\n')
  for (const line of lines) t.ok(said.includes(line), line)
})

/** The doctor, run as a user of the ACL. */
async function doctorAs (name: string, ...args: string[]) {
  return await operate(['doctor', ...args], { env: { REDIS_URL: redis.url, REDIS_USERNAME: name, REDIS_PASSWORD: 'of-the-tests' } })
}
