import { readFileSync } from 'node:fs'
import { test } from 'tap'
import type { Test } from 'tap'
import { pages } from './helpers/pages.ts'
import { root } from './helpers/process.ts'
import { compile, programsOf, runAll } from './helpers/programs.ts'
import { shape } from './helpers/transcript.ts'

const readme = { path: 'README.md', text: readFileSync(`${root}README.md`, 'utf8') }
const programs = programsOf(readme)

test('every npm script that a page names exists', async (t) => {
  const { scripts } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { scripts: Record<string, string> }
  // Elsewhere `npm run` may be that of somebody else's project.
  const ours = pages().filter(({ path }) => !path.startsWith('docs/') || path.startsWith('docs/concepts/') || path.startsWith('docs/security/'))
  const named = ours.flatMap(({ path, text }) => [...text.matchAll(/npm run ([\w:-]+)/g)].map(([, name = '']) => ({ path, name })))
  t.ok(named.length > 0)
  t.strictSame(named.filter(({ name }) => scripts[name] === undefined), [])
})

test('every program compiles under strict and exactOptionalPropertyTypes', async (t) => {
  t.equal(compile(`${root}.tmp/readme-types/`, programs, { skipLibCheck: false }), '')
})

test('every program runs, and the first one answers as its transcript says', async (t) => {
  const first = programs[0]
  t.strictSame(await runAll(t, `${root}.tmp/readme/`, programs, async (program, port) => {
    if (program === first) await follow(t, port)
  }), [])
})

/** Goes through the transcript and compares what comes back, up to what differs each time. */
async function follow (t: Test, port: number): Promise<void> {
  const transcript = /<!-- transcript -->\n```console\n([^]*?)```/.exec(readme.text)?.[1] ?? ''
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
