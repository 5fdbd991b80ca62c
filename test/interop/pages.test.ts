import { mkdirSync, rmSync, symlinkSync } from 'node:fs'
import t from 'tap'
import { pages } from '../helpers/pages.ts'
import { root } from '../helpers/process.ts'
import { compile, programsOf, runAll } from '../helpers/programs.ts'

const programs = pages().flatMap(programsOf).filter(({ needsInterop }) => needsInterop)

/*
 * A program imports this package by its name, which is found below the root alone, and packages of test/interop, which
 * the link makes found there.
 */
const home = `${root}.tmp/interop/`
mkdirSync(home, { recursive: true })
rmSync(`${home}node_modules`, { force: true })
symlinkSync(`${root}test/interop/node_modules`, `${home}node_modules`, 'dir')

t.test('every program of a page that needs other packages compiles and runs', async (t) => {
  t.ok(programs.length > 0)
  const folder = `${home}pages/`
  t.equal(compile(folder, programs), '')
  t.strictSame(await runAll(t, folder, programs), [])
})
