import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { COMMANDS } from '../../lib/operate/commands/all.ts'
import { EXIT } from '../../lib/operate/exit.ts'
import { secret } from '../helpers/app.ts'
import { openManager } from '../helpers/managers.ts'
import { operate } from '../helpers/operate.ts'
import { root } from '../helpers/process.ts'
import { startRedis } from '../helpers/redis.ts'
import { openStore } from '../helpers/redis-store.ts'

const page = readFileSync(join(root, 'docs/guides/command-line.md'), 'utf8')

/** What the page shows: a command, what is piped into it, and what it prints. */
const shown = [...page.matchAll(/^```console\n([^]*?)^```$/gm)].flatMap(([, block = '']) => block.split(/^\$ /m).slice(1).map((each) => {
  const [line = '', ...printed] = each.trimEnd().split('\n')
  const [, piped, args = ''] = /^(?:(.*?) \| )?npx fastify-user-sessions (.*)$/.exec(line) ?? []
  return { line, piped, args: args.split(' '), printed: printed.join('\n').trim() }
})).filter(({ line }) => !line.startsWith('export '))

/** A text without what differs each time. */
function alike (text: string): string {
  return text.replace(/\b[\w-]{22}(?= |$)/gm, 'ID').replace(/\d{4}-\d\d-\d\dT[\d:]+Z/g, 'TIME').replace(/\d+ (s|min|h|d)\b/g, 'SOON').replace(/^(bytes +)\d+/m, '$1N')
}

t.test('what the page shows is what the commands print', async (t) => {
  const redis = await startRedis(t)
  const store = await openStore(t, redis.url, {})
  const sessions = openManager(t, { store })
  const { token, session } = await sessions.create({ userId: 'ada' })
  const record = await store.find(session.id) as any
  await sessions.revoke(session.id)
  const env = { REDIS_URL: redis.url, SESSION_SECRET: secret }
  t.ok(shown.length >= 5)
  for (const { line, piped, args, printed } of shown) {
    await redis.client.flushall()
    await store.begin({ ...record, userAgent: 'Firefox 131 on Windows', ip: '203.0.113.7' })
    if (/^ended /m.test(printed)) await operate(['revoke', session.id, '--reason', 'lost-laptop', '--actor', 'support:bob'], { env })
    if (args[0] === 'stats') await store.begin({ ...record, id: 'v'.repeat(22), userId: null, authenticatedAt: null })
    const stdin = piped === undefined ? '' : /^echo "(.*)"$/.exec(piped)?.[1] ?? token
    const { out } = await operate(args, { env, stdin })
    t.equal(alike(out.trim()), alike(printed), line)
  }
})

t.test('the page has every command, every way to end sessions and every exit code', async (t) => {
  for (const { name } of COMMANDS) t.match(page, new RegExp(`^\\| \\[?\`${name}\\b`, 'm'), name)
  const { options } = COMMANDS.find(({ name }) => name === 'revoke') as typeof COMMANDS[number]
  for (const name of Object.keys(options)) t.ok(page.includes(`--${name}`), name)
  t.strictSame([...page.matchAll(/^\| (\d+) \|/gm)].map(([, code]) => Number(code)), Object.values(EXIT))
})
