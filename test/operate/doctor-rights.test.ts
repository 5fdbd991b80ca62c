import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Report } from '../../lib/operate/doctor/doctor.ts'
import { neededRules, USES } from '../../lib/redis/needs.ts'
import { about, examine } from '../helpers/doctor.ts'
import { startCluster, startRedis } from '../helpers/redis.ts'

const PAGE = await readFile(join(import.meta.dirname, '../../docs/guides/production.md'), 'utf8')
const redis = await startRedis(t)
const PASSWORD = 'of-the-tests'

/** Makes a user who may do no more than this. */
async function grant (rules: string[], name = 'sessions'): Promise<void> {
  await redis.client.call('ACL', 'DELUSER', name)
  await redis.client.call('ACL', 'SETUSER', name, 'on', `>${PASSWORD}`, 'resetkeys', 'resetchannels', ...rules)
}

function rulesOf (needs: Parameters<typeof neededRules>[0]): string[] {
  const { keys, channels, commands } = neededRules(needs)
  return [...keys, ...channels, ...commands]
}

const asUser = (username = 'sessions') => ({ host: '127.0.0.1', port: redis.port, username, password: PASSWORD })
const rights = (report: Report): string[] => about(report, 'rights')

t.test('the ACL of the guide is the one that the doctor checks', async (t) => {
  const { keys, channels, commands } = neededRules({ prefix: 'sess:' })
  const [, rules] = /^ACL SETUSER sessions on >password (.*)$/m.exec(PAGE) ?? []
  t.equal(rules, ['resetkeys', ...keys, 'resetchannels', ...channels, ...commands].join(' '))
  const [besides = ''] = /^Besides: .*$/m.exec(PAGE) ?? []
  const told = [...besides.matchAll(/`([+&][^`]+)`/g)].map(([, rule]) => rule)
  const more = rulesOf({ prefix: 'sess:', database: 2, uses: USES }).filter((rule) => !rulesOf({ prefix: 'sess:' }).includes(rule))
  t.strictSame(told.sort(), more.sort())
})

t.test('a user with all rights that are needed is told so, whether it may ask ACL DRYRUN or not', async (t) => {
  await grant(rulesOf({ prefix: 'sess:' }))
  t.match(rights(await examine(t, asUser())), [/^ok: the user sessions may do all that is needed \(\d+ calls, by a script\)$/])
  await grant([...rulesOf({ prefix: 'sess:' }), '+acl|dryrun'])
  t.match(rights(await examine(t, asUser())), [/^ok: .*by ACL DRYRUN\)$/])
})

t.test('each right that is lacking is found, with the rule that grants it', async (t) => {
  const uses = USES.filter((use) => use !== 'cluster' && use !== 'database')
  const all = rulesOf({ prefix: 'sess:', uses })
  for (const besides of [[], ['+acl|dryrun']]) {
    for (const rule of all) {
      // Who may not ask for rights is told to grant that first.
      if (besides.length === 0 && rule === '+eval') continue
      await grant([...all.filter((each) => each !== rule), ...besides])
      const { findings } = await examine(t, asUser(), { uses, isRefused: true })
      const [found, ...more] = findings.filter(({ topic }) => topic === 'rights')
      t.equal(found?.todo, `ACL SETUSER sessions ${rule} (docs/guides/production.md has all rules)`, `${rule} ${besides.join()}`)
      t.equal(found?.level, 'problem')
      t.strictSame(more, [])
    }
  }
})

t.test('what one option needs is asked for with this option alone', async (t) => {
  await grant(rulesOf({ prefix: 'sess:' }))
  t.match(rights(await examine(t, asUser())), [/^ok/])
  t.match(rights(await examine(t, asUser(), { uses: ['durability'] })), [/^problem: .* may not send WAIT, ROLE$/])
  t.match(rights(await examine(t, asUser(), { uses: ['nearCache'] })), [/may not send CLIENT ID, CLIENT TRACKING$/, /may not use the channels &__redis__:invalidate$/])
})

t.test('keys and channels of another prefix and another database are the ones that count', async (t) => {
  await grant(rulesOf({ prefix: 'sess:' }))
  const report = await examine(t, asUser(), { prefix: 'a[b]*:' })
  t.match(rights(report).join('\n'), /keys ~a\\\[b\\\]\\\*:\*, ~@\{a\\\[b\\\]\\\*:\*, ~@a\\\[b\\\]\\\*:\*\n.*channels &@a\\\[b\\\]\\\*:\*$/)
  const needs = { prefix: 'a[b]*:', database: 2, uses: ['database' as const] }
  await grant(rulesOf(needs))
  t.match(rights(await examine(t, { ...asUser(), db: 2 }, { prefix: needs.prefix })), [/^ok/])
  await grant(rulesOf({ ...needs, database: 0 }))
  t.match(rights(await examine(t, { ...asUser(), db: 2 }, { prefix: needs.prefix })), [/may not use the channels &@2:a/])
})

t.test('an administrator asks about the user of the application', async (t) => {
  await grant(['+get', '~sess:*'])
  const visit = { aclUser: 'sessions' }
  t.match(rights(await examine(t, redis.url, visit)), [/^problem: the user sessions may not send MGET, TYPE/, /^problem: .*may not use the keys ~@\{sess:\*$/])
  t.match(rights(await examine(t, redis.url, { aclUser: 'nobody' })), ['problem: there is no user nobody'])
  await grant(rulesOf({ prefix: 'sess:' }), 'other')
  t.match(rights(await examine(t, asUser('other'), visit)), [/^note: ACL DRYRUN is refused: NOPERM/], 'who may not ask about others')
})

t.test('a user who may nearly nothing is told what it lacks, and what could not be seen', async (t) => {
  for (const rules of [[], ['+ping'], ['+ping', '+time', '+eval']]) {
    await grant(rules)
    const report = await examine(t, asUser(), { isRefused: true })
    t.match(about(report, 'server'), [/^note: INFO is refused: NOPERM/])
    t.match(rights(report)[0], rules.includes('+eval') ? /may not send SCAN, .*INFO$/ : /^problem: the user sessions may not EVAL/)
    t.equal(about(report, 'round trips').some((line) => line.includes('PING is refused')), rules.length === 0)
    t.equal(about(report, 'clock').some((line) => line.includes('TIME is refused')), !rules.includes('+time'))
    t.ok(report.findings.every(({ level, todo }) => (level === 'ok') === (todo === null)))
  }
})

t.test('a command that this Redis does not have is a problem', async (t) => {
  const renamed = await startRedis(t, { args: ['--rename-command', 'ZRANK', '', '--rename-command', 'CONFIG', ''] })
  const report = await examine(t, renamed.url)
  t.strictSame(rights(report), ['problem: this Redis does not know ZRANK, which is needed'])
  t.match(about(report, 'settings'), [/^note: CONFIG GET is refused, as many services do/])
  t.match(about(report, 'persistence'), [/^note: no append-only file, and it is not known whether it takes snapshots/])
})

t.test('in a Cluster each master is asked, and the rights of a Cluster are needed', async (t) => {
  const { nodes, client } = await startCluster(t, { masters: 2 })
  const all = rulesOf({ prefix: 'sess:', uses: ['cluster'] })
  const [first, second] = client.nodes('master')
  for (const node of [first, second]) await node?.call('ACL', 'SETUSER', 'sessions', 'on', `>${PASSWORD}`, ...all)
  const target = { cluster: nodes, username: 'sessions', password: PASSWORD }
  t.match(rights(await examine(t, target)), [/^ok/])
  await second?.call('ACL', 'SETUSER', 'sessions', '-asking', '-zrank')
  const name = `127.0.0.1:${second?.options.port}`
  t.strictSame(rights(await examine(t, target)).filter((line) => line.startsWith('problem')), [`problem: ${name}: the user sessions may not send ZRANK, ASKING`])
})
