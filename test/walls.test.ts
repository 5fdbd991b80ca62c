import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, normalize, relative } from 'node:path'
import t from 'tap'
import ts from 'typescript'

const root = join(import.meta.dirname, '..')
/** Files end where ideas end; a function is what one has to keep in mind. */
const MAX_FUNCTION_LINES = 60

interface Import {
  /** A file of this package, as a path from its root, or a package's name. */
  of: string
  isLocal: boolean
  isType: boolean
  /** It happens when the program gets there: `await import(…)`. */
  isCall: boolean
}

interface File {
  /** From the package's root: lib/http/login.ts. */
  path: string
  text: string
  imports: Import[]
}

/** What a module's text imports or exports from elsewhere. */
function importsOf (path: string, text: string): Import[] {
  const statements = [...text.matchAll(/^[ \t]*(?:import|export)\b(?<type>\s+type\b)?(?:[\s\w{},*$]*?\bfrom\b)?\s*(['"])(?<from>[^'"\n]+)\2/gm)]
  const calls = [...text.matchAll(/\b(?:import|require)\s*\(\s*(['"`])(?<from>[^'"`\n]+)\1/g)]
  return [...statements, ...calls].map(({ groups = {} }, index) => {
    const from = groups.from as string
    const isCall = index >= statements.length
    const isLocal = from.startsWith('.')
    return { of: isLocal ? normalize(join(dirname(path), from)) : from, isLocal, isType: groups.type !== undefined, isCall }
  })
}

function file (path: string, text: string): File {
  return { path, text, imports: importsOf(path, text) }
}

/** The functions of a file, with how many lines each has. */
function functionsOf (path: string, text: string): Array<{ at: string, lines: number }> {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  const lineOf = (position: number): number => source.getLineAndCharacterOfPosition(position).line
  const found: Array<{ at: string, lines: number }> = []
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && 'body' in node && node.body !== undefined) {
      const [first, last] = [lineOf(node.getStart()), lineOf(node.getEnd())]
      found.push({ at: `${path}:${first + 1}`, lines: last - first + 1 })
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

async function filesIn (folder: string): Promise<File[]> {
  const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true })
  const paths = entries.filter((entry) => entry.isFile() && /(?<!\.test)\.ts$/.test(entry.name)).map((entry) => relative(root, join(entry.parentPath, entry.name)))
  return await Promise.all(paths.sort().map(async (path) => file(path, await readFile(join(root, path), 'utf8'))))
}

const isFastify = (of: string) => of === 'fastify' || of === 'fastify-plugin' || of.startsWith('@fastify/')
const isDriver = (of: string) => /^(ioredis|connect-redis|cluster-key-slot|redis|@redis\/.*)$/.test(of.replace(/^(ioredis|connect-redis|redis)\/.*/, '$1'))
/** What every room may use. */
const isShared = (of: string) => of === 'lib/errors.ts' || of.startsWith('lib/util/')
/** Whether a file is in one of these rooms. */
const isIn = (path: string, ...rooms: string[]) => rooms.some((room) => path === room || path.startsWith(`lib/${room}/`))

interface Wall {
  says: string
  /** Whose imports. */
  around: (path: string) => boolean
  /** What they may not be. */
  keepsOut: (of: string, from: Import) => boolean
}

const WALLS: Wall[] = [
  {
    says: 'Fastify is named in lib/http and the plugin alone, but for its errors',
    around: (path) => !isIn(path, 'http', 'lib/plugin.ts', 'lib/index.ts'),
    keepsOut: (of) => isFastify(of) && of !== '@fastify/error'
  },
  { says: '@fastify/error is named in lib/errors.ts alone', around: (path) => path !== 'lib/errors.ts', keepsOut: (of) => of === '@fastify/error' },
  { says: '@fastify/session is named in lib/http alone', around: (path) => !isIn(path, 'http'), keepsOut: (of) => of === '@fastify/session' },
  { says: 'a Redis driver is named in lib/redis alone', around: (path) => !isIn(path, 'redis'), keepsOut: (of) => isDriver(of) && of !== 'connect-redis' },
  { says: 'connect-redis is named in lib/express alone', around: (path) => !isIn(path, 'express'), keepsOut: (of) => of === 'connect-redis' },
  { says: 'lib/util knows itself and the errors', around: (path) => isIn(path, 'util'), keepsOut: (of, { isLocal }) => isLocal && !isShared(of) },
  {
    says: 'lib/session knows itself and lib/util, and a library each for the names of devices and for schemas of data',
    around: (path) => isIn(path, 'session'),
    keepsOut: (of, { isLocal }) => isLocal ? !isIn(of, 'session') && !isShared(of) : !of.startsWith('node:') && of !== 'bowser' && !/^@sinclair\/typebox(\/compiler)?$/.test(of)
  },
  {
    says: 'the stores know of sessions what they are, and of requests nothing',
    around: (path) => isIn(path, 'store', 'near', 'redis', 'express'),
    keepsOut: (of) => isIn(of, 'http', 'lib/plugin.ts', 'lib/standalone.ts')
  },
  {
    says: 'the stores know of lib/session the port, the record, its copies and its data',
    around: (path) => isIn(path, 'store', 'near', 'redis'),
    keepsOut: (of) => isIn(of, 'session') && !['lib/session/store.ts', 'lib/session/record.ts', 'lib/session/frozen.ts', 'lib/session/changes.ts', 'lib/session/events.ts'].includes(of)
  },
  { says: 'of the stores only the one that opens them knows Redis', around: (path) => isIn(path, 'store', 'near') && path !== 'lib/store/open.ts', keepsOut: (of) => isIn(of, 'redis', 'express') },
  { says: 'lib/express is known to lib/options/layout.ts alone', around: (path) => !isIn(path, 'express', 'lib/options/layout.ts'), keepsOut: (of) => isIn(of, 'express') },
  { says: 'lib/express is loaded when it is asked for', around: (path) => path === 'lib/options/layout.ts', keepsOut: (of, { isCall }) => isIn(of, 'express') && !isCall },
  { says: 'lib/redis knows no other store and no options', around: (path) => isIn(path, 'redis'), keepsOut: (of) => isIn(of, 'options', 'lib/store/memory.ts', 'lib/store/foreign.ts', 'lib/store/open.ts') },
  {
    says: 'lib/testing knows what a store promises, and no store',
    around: (path) => isIn(path, 'testing'),
    keepsOut: (of, { isLocal }) => isLocal ? !isIn(of, 'testing', 'session') : !of.startsWith('node:')
  },
  { says: 'lib/testing is for tests alone', around: (path) => !isIn(path, 'testing'), keepsOut: (of) => isIn(of, 'testing') },
  {
    says: 'lib/operate, the command line, knows sessions, the stores, and what opens them without Fastify',
    around: (path) => isIn(path, 'operate'),
    keepsOut: (of, { isLocal }) => isLocal ? !isIn(of, 'operate', 'session', 'redis', 'store', 'options', 'lib/standalone.ts') && !isShared(of) : !of.startsWith('node:')
  },
  {
    says: 'lib/device, the keys of browsers, knows what a session holds of them and how values are signed, and nothing of stores and requests',
    around: (path) => isIn(path, 'device'),
    keepsOut: (of, { isLocal }) => isLocal ? !isIn(of, 'device', ...['token', 'bound-key', 'device-check', 'headers', 'record'].map((name) => `lib/session/${name}.ts`)) && !isShared(of) : !of.startsWith('node:')
  },
  { says: 'to the stores the key of a browser is a text', around: (path) => isIn(path, 'store', 'near', 'redis', 'express'), keepsOut: (of) => isIn(of, 'device') },
  { says: 'lib/operate is a program, and known to nobody', around: (path) => !isIn(path, 'operate'), keepsOut: (of) => isIn(of, 'operate') },
  {
    says: 'lib/session/security-log.ts is opened where sessions are, and only its types are known elsewhere',
    around: (path) => !['lib/plugin.ts', 'lib/standalone.ts'].includes(path),
    keepsOut: (of, { isType }) => of === 'lib/session/security-log.ts' && !isType
  },
  {
    says: 'lib/metrics knows sessions and prom-client',
    around: (path) => isIn(path, 'metrics'),
    keepsOut: (of, { isLocal }) => isLocal ? !isIn(of, 'metrics', 'session') && !isShared(of) : of !== 'prom-client'
  },
  { says: 'lib/metrics has one door, for applications', around: (path) => !isIn(path, 'metrics'), keepsOut: (of) => isIn(of, 'metrics') },
  { says: 'prom-client is named in lib/metrics alone', around: (path) => !isIn(path, 'metrics'), keepsOut: (of) => of === 'prom-client' },
  { says: 'lib/http knows no store', around: (path) => isIn(path, 'http'), keepsOut: (of) => isIn(of, 'store', 'near', 'redis', 'express') },
  { says: 'nobody imports the front door', around: () => true, keepsOut: (of) => of === 'lib/index.ts' || of === 'lib/plugin.ts' }
]

/** Every import that goes through a wall. */
function holes (files: File[]): string[] {
  return WALLS.flatMap(({ says, around, keepsOut }) => files.filter(({ path }) => around(path)).flatMap(({ path, imports }) => imports
    .filter((each) => keepsOut(each.of, each) && !(path === 'lib/index.ts' && each.of === 'lib/plugin.ts'))
    .map(({ of }) => `${path} imports ${of}: ${says}`)))
}

/** Circles of imports that exist when the program runs. */
function circles (files: File[]): string[] {
  const graph = new Map(files.map(({ path, imports }) => [path, imports.filter(({ isLocal, isType }) => isLocal && !isType).map(({ of }) => of)]))
  const found: string[] = []
  const done = new Set<string>()
  const walk = (path: string, way: string[]): void => {
    if (way.includes(path)) {
      found.push([...way.slice(way.indexOf(path)), path].join(' → '))
      return
    }
    if (done.has(path)) return
    for (const next of graph.get(path) ?? []) walk(next, [...way, path])
    done.add(path)
  }
  for (const path of graph.keys()) walk(path, [])
  return found
}

t.test('no import goes through a wall', async (t) => {
  const files = await filesIn('lib')
  t.ok(files.length > 30)
  t.strictSame(holes(files), [])
})

t.test('no import goes in a circle', async (t) => {
  t.strictSame(circles([...await filesIn('lib'), ...await filesIn('types')]), [])
})

t.test('no function is longer than one can keep in mind', async (t) => {
  const files = await filesIn('lib')
  t.strictSame(files.flatMap(({ path, text }) => functionsOf(path, text).filter(({ lines }) => lines > MAX_FUNCTION_LINES)), [])
  const [short, long] = ['', '\n'.repeat(MAX_FUNCTION_LINES)].map((lines) => functionsOf('lib/x.ts', `export const x = () => {${lines}}`))
  t.strictSame([short, long].map((found) => found?.map(({ lines }) => lines > MAX_FUNCTION_LINES)), [[false], [true]])
})

t.test('every local import names a file that is there, with its ending', async (t) => {
  const files = [...await filesIn('lib'), ...await filesIn('types')]
  const paths = new Set(files.map(({ path }) => path))
  t.strictSame(files.flatMap(({ path, imports }) => imports.filter(({ isLocal, of }) => isLocal && !paths.has(of)).map(({ of }) => `${path}: ${of}`)), [])
})

t.test('every package that is imported is a dependency', async (t) => {
  const { dependencies, peerDependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  const files = [...await filesIn('lib'), ...await filesIn('types')]
  const names = files.flatMap(({ imports }) => imports.filter(({ isLocal, of }) => !isLocal && !of.startsWith('node:')).map(({ of }) => of.split('/').slice(0, of.startsWith('@') ? 2 : 1).join('/')))
  t.strictSame([...new Set(names)].filter((name) => !(name in dependencies || name in peerDependencies)), [])
})

t.test('imports are read in every form there is', async (t) => {
  const text = `
    import one from 'ioredis'
    import { Redis, Cluster } from "ioredis"
import {
  requestSessionOf,
  type Other
} from '../http/request-session.ts'
import type { FastifyRequest } from 'fastify'
import * as all from './record.ts'
import '../side-effect.ts'
export { x } from './changes.ts'
export type { Y } from './token.ts'
export * from '../index.ts'
const lazy = await import('connect-redis')
const old = require('fastify-plugin')
    /** An import of 'nothing', export of "nothing": words. */
const text = 'from "nowhere"'`
  t.strictSame(importsOf('lib/session/x.ts', text).map(({ of, isType }) => isType ? `type ${of}` : of), [
    'ioredis', 'ioredis', 'lib/http/request-session.ts', 'type fastify', 'lib/session/record.ts', 'lib/side-effect.ts', 'lib/session/changes.ts', 'type lib/session/token.ts', 'lib/index.ts', 'connect-redis', 'fastify-plugin'
  ])
})

t.test('a hole in a wall is found', async (t) => {
  const through: Array<[path: string, statement: string]> = [
    ['lib/session/x.ts', "import type { FastifyRequest } from 'fastify'"],
    ['lib/session/x.ts', "import createError from '@fastify/error'"],
    ['lib/session/x.ts', "import { Redis } from 'ioredis'"],
    ['lib/session/x.ts', "import ms from 'ms'"],
    ['lib/http/x.ts', "import { keepSecurityLog } from '../session/security-log.ts'"],
    ['lib/session/x.ts', "import { MemoryStore } from '../store/memory.ts'"],
    ['lib/session/x.ts', "import type { SessionStore } from '../options/resolve.ts'"],
    ['lib/session/x.ts', "import { requestSessionOf } from '../http/request-session.ts'"],
    ['lib/session/x.ts', "import { resolveOptions } from '../options/resolve.ts'"],
    ['lib/store/x.ts', "import { SessionManager } from '../session/manager.ts'"],
    ['lib/store/x.ts', "import { newId } from '../session/token.ts'"],
    ['lib/store/x.ts', "import type { PluginContext } from '../http/context.ts'"],
    ['lib/store/x.ts', "import type { FastifyBaseLogger } from 'fastify'"],
    ['lib/store/x.ts', "import { connect } from '../redis/connection.ts'"],
    ['lib/store/memory.ts', "import { Redis } from 'ioredis'"],
    ['lib/store/x.ts', "import { record } from '../testing/record.ts'"],
    ['lib/testing/x.ts', "import { MemoryStore } from '../store/memory.ts'"],
    ['lib/testing/x.ts', "import t from 'tap'"],
    ['lib/redis/x.ts', "import { newId } from '../session/token.ts'"],
    ['lib/redis/x.ts', "import type { SessionOptions } from '../options/types.ts'"],
    ['lib/http/x.ts', "import { MemoryStore } from '../store/memory.ts'"],
    ['lib/http/routes/x.ts', "import type { SessionStore } from '../../store/memory.ts'"],
    ['lib/http/x.ts', "const { Redis } = await import('ioredis')"],
    ['lib/plugin.ts', "import fastifySession from '@fastify/session'"],
    ['lib/plugin.ts', "import RedisStore from 'connect-redis'"],
    ['lib/options/schema.ts', "import type { FastifyInstance } from 'fastify'"],
    ['lib/options/resolve.ts', "import calculateSlot from 'cluster-key-slot'"],
    ['lib/http/x.ts', "import { sessionPlugin } from '../index.ts'"],
    ['lib/redis/x.ts', "import type { ExpressRecords } from '../express/shared-records.ts'"],
    ['lib/plugin.ts', "const { expressLayout } = await import('./express/layout.ts')"],
    ['lib/options/layout.ts', "import { expressLayout } from '../express/layout.ts'"],
    ['lib/index.ts', "export { RedisStore } from './express/redis-store.ts'"],
    ['lib/index.ts', "export { collectMetrics } from './metrics/index.ts'"],
    ['lib/session/x.ts', "import { Counter } from 'prom-client'"],
    ['lib/http/x.ts', "import { Counter } from 'prom-client'"],
    ['lib/metrics/x.ts', "import { RedisStore } from '../redis/store.ts'"],
    ['lib/device/x.ts', "import { SessionManager } from '../session/manager.ts'"],
    ['lib/device/x.ts', "import type { FastifyRequest } from 'fastify'"],
    ['lib/device/x.ts', "import ms from 'ms'"],
    ['lib/session/x.ts', "import { DeviceBinding } from '../device/binding.ts'"],
    ['lib/store/x.ts', "import { readBoundKey } from '../session/bound-key.ts'"]
  ]
  for (const [path, statement] of through) t.not(holes([file(path, statement)]).length, 0, `${path}: ${statement}`)
})

t.test('a circle is found, but not one of types', async (t) => {
  const two = (back: string) => [file('lib/a.ts', "import { b } from './b.ts'"), file('lib/b.ts', "import { c } from './c.ts'"), file('lib/c.ts', back)]
  t.strictSame(circles(two("import { a } from './a.ts'")), ['lib/a.ts → lib/b.ts → lib/c.ts → lib/a.ts'])
  t.strictSame(circles(two("import type { A } from './a.ts'")), [])
})
