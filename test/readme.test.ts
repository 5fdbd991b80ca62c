import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { test } from 'tap'
import type { Test } from 'tap'
import { secret } from './helpers/app.ts'
import { withTables } from './helpers/docs.ts'
import { freePort, root, run, startProgram } from './helpers/process.ts'
import { startRedis } from './helpers/redis.ts'

const folder = `${root}.tmp/readme/`
const readme = readFileSync(`${root}README.md`, 'utf8')
const programs = programsOf(readme)

test('the tables are those of the code', async (t) => {
  t.equal(readme, withTables(readme), 'npm run docs writes them')
})

test('every npm script that the README names exists', async (t) => {
  const { scripts } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { scripts: Record<string, string> }
  const named = [...readme.matchAll(/npm run ([\w:-]+)/g)].map(([, name]) => name ?? '')
  t.ok(named.length > 0)
  for (const name of named) t.ok(scripts[name], name)
})

test('every requirement of the security table is named by a test in the files beside it', async (t) => {
  const table = /<!-- security -->([^]*?)<!-- \/security -->/.exec(readme)?.[1] ?? ''
  const rows = [...table.matchAll(/^\| (.+?) \| .+ \| (.+?) \|$/gm)].slice(1).map(([, ids = '', files = '']) => ({ ids: ids.split(', '), files: [...files.matchAll(/`([^`]+)`/g)].map(([, file]) => file ?? '') }))
  t.ok(rows.length > 25)
  for (const { ids, files } of rows) {
    const named = files.map((file) => idsOf(readFileSync(`${root}test/${file}`, 'utf8')))
    for (const id of ids) t.ok(named.some((each) => each.has(id)), `${id} in ${files.join(' or ')}`)
    for (const [index, file] of files.entries()) t.ok(ids.some((id) => named[index]?.has(id)), `${file} shows ${ids.join(' or ')}`)
  }
})

test('every program compiles under strict and exactOptionalPropertyTypes', async (t) => {
  writePrograms()
  const { code, output } = await run('npx', ['tsc', '-p', folder])
  t.equal(code, 0, output)
})

test('every program runs, and the first one answers as its transcript says', async (t) => {
  writePrograms()
  const redis = await startRedis(t)
  for (const [name] of programs) {
    const port = await freePort()
    const program = await startProgram(t, `${folder}${name}`, port, { NODE_ENV: 'development', SESSION_SECRET: secret, REDIS_URL: redis.url })
    t.pass(`${name} listens`)
    if (name === 'app.ts') await follow(t, port)
    await program.stop('SIGKILL')
  }
})

/** The requirements that tests begin their names with, in brackets. */
function idsOf (tests: string): Set<string> {
  return new Set([...tests.matchAll(/\w\(['`]\[([^\]]+)\]/g)].flatMap(([, ids = '']) => ids.split(', ')))
}

/** Goes through the transcript and compares what comes back, up to what differs each time. */
async function follow (t: Test, port: number): Promise<void> {
  const transcript = /<!-- transcript -->\n```console\n([^]*?)```/.exec(readme)?.[1] ?? ''
  let cookie = ''
  const steps = transcript.split(/^\$ /m).slice(1)
  t.equal(steps.length, 4, 'sign in, use it, sign out, use it')
  for (const step of steps) {
    const [command = '', status = '', ...rest] = step.trimEnd().split('\n')
    const blank = rest.indexOf('')
    const headers = blank === -1 ? rest : rest.slice(0, blank)
    const body = blank === -1 ? '' : rest.slice(blank + 1).join('\n')
    const [, path = ''] = /localhost:3000(\S+)/.exec(command) ?? []
    const data = / -d '([^']*)'/.exec(command)?.[1]
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      method: data !== undefined || command.includes('-X POST') ? 'POST' : 'GET',
      headers: { ...cookie !== '' && { cookie }, ...data !== undefined && { 'content-type': 'application/json' } },
      ...data !== undefined && { body: data }
    })
    t.ok(status.startsWith(`HTTP/1.1 ${response.status} `), `${command}: ${status}`)
    for (const header of headers) {
      const [name = '', value = ''] = header.split(/: (.*)/)
      t.equal(shape(response.headers.get(name) ?? ''), shape(value), `${command}: ${name}`)
    }
    t.equal(shape(await response.text()), shape(body), `${command}: body`)
    const setCookie = response.headers.get('set-cookie')
    if (setCookie !== null) cookie = setCookie.includes('Max-Age=0') ? '' : setCookie.split(';')[0] ?? ''
  }
}

/** Without ids, instants and tokens. */
function shape (text: string): string {
  return text.replace(/\b[\w-]{22}\b(\.[\w…-]+)*/g, 'ID').replace(/\b\d{13}\b/g, 'INSTANT').replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'DATE')
}

/** The README's programs by name; what continues one stands before its `listen`. */
function programsOf (text: string): Map<string, string> {
  const found = new Map<string, string>()
  for (const [, kind, name = '', code = ''] of text.matchAll(/<!-- (program|continues): (\S+) -->\n```ts\n([^]*?)```/g)) {
    if (kind === 'program') found.set(name, code)
    else found.set(`${found.size}-${name}`, (found.get(name) ?? '').replace(/(?=await app\.listen)/, () => `${code}\n`))
  }
  if (found.size !== (text.match(/^```ts$/gm) ?? []).length) throw new Error('a ts block of the README has no program or continues comment')
  return found
}

function writePrograms (): void {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const [name, code] of programs) writeFileSync(`${folder}${name}`, code)
  writeFileSync(`${folder}tsconfig.json`, JSON.stringify({
    compilerOptions: { strict: true, exactOptionalPropertyTypes: true, module: 'nodenext', target: 'es2022', noEmit: true, skipLibCheck: false, types: ['node'], moduleDetection: 'force' },
    include: ['*.ts']
  }))
}
