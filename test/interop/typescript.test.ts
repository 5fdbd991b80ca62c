import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { root, run } from '../helpers/process.ts'

/*
 * What an application's compiler says of the built package, from the oldest version that docs/reference/versions.md
 * names to the newest. `skipLibCheck`, as projects with an old compiler have it: Fastify's own types need TypeScript 5.4.
 */
const folder = join(root, '.tmp/typescript')

const PROGRAM = `
  import Fastify from 'fastify'
  import sessionPlugin, { authRoutes, MemoryStore, SessionManager } from 'fastify-user-sessions'
  import { RedisStore } from 'fastify-user-sessions/express'
  import { testStore } from 'fastify-user-sessions/testing'

  declare module 'fastify' {
    interface Session { cart?: string[] }
  }

  export async function start (): Promise<void> {
    const app = Fastify()
    await app.register(sessionPlugin, { secret: 'x'.repeat(32), idleTimeout: '30m' })
    await app.register(authRoutes, { verify: async ({ username }) => username === 'ada' ? { id: 1 } : null })
    app.get('/me', { preHandler: app.authenticate }, async (request) => {
      request.session.cart = ['tea']
      const { userId }: { userId: string } = request.requireAuth()
      // @ts-expect-error: with types, nothing is any
      return [userId, request.requireAuth().nothing]
    })
    // @ts-expect-error: nor is an option
    await app.register(sessionPlugin, { secret: 'x'.repeat(32), idleTimeout: true })
    // @ts-expect-error: nor are entry points
    console.log(RedisStore.nothing, testStore)
    const ended: number = await new SessionManager({ secret: '', store: new MemoryStore() }).revokeUser('ada')
    console.log(ended)
  }
`

const MODULES = {
  /** `import` in an ES module. */
  esm: { type: 'module', module: 'nodenext', moduleResolution: 'nodenext' },
  bundler: { type: 'module', module: 'esnext', moduleResolution: 'bundler' },
  /** `import` that becomes `require()`. */
  commonjs: { type: 'commonjs', module: 'nodenext', moduleResolution: 'nodenext' },
  classic: { type: 'commonjs', module: 'commonjs', moduleResolution: 'node10' }
}

/** Compiles the program, and returns the codes of what the compiler has against it. */
async function faults (compiler: string, kind: keyof typeof MODULES): Promise<string[]> {
  const { type, ...modules } = MODULES[kind]
  const project = join(folder, `${compiler}-${kind}`)
  rmSync(project, { recursive: true, force: true })
  mkdirSync(join(project, 'node_modules'), { recursive: true })
  symlinkSync(root, join(project, 'node_modules/fastify-user-sessions'))
  writeFileSync(join(project, 'package.json'), JSON.stringify({ type }))
  writeFileSync(join(project, 'app.ts'), PROGRAM)
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({
    compilerOptions: {
      ...modules, target: 'es2022', strict: true, esModuleInterop: true, skipLibCheck: true, noEmit: true, types: ['node']
    },
    files: ['app.ts']
  }))
  const tsc = join(import.meta.dirname, 'node_modules', compiler, 'bin/tsc')
  const { code, output } = await run(process.execPath, [tsc, '-p', project])
  const codes = [...output.matchAll(/error (TS\d+)/g)].map(([, found = '']) => found)
  return code === 0 || codes.length > 0 ? [...new Set(codes)] : [output]
}

for (const [compiler, kinds] of Object.entries({
  typescript50: ['esm', 'bundler', 'classic'],
  typescript58: ['esm', 'bundler', 'classic', 'commonjs'],
  // It has no classic resolution any more.
  typescript7: ['esm', 'bundler', 'commonjs']
} satisfies Record<string, Array<keyof typeof MODULES>>)) {
  t.test(`${compiler} compiles an application`, async (t) => {
    for (const kind of kinds) t.strictSame(await faults(compiler, kind), [], kind)
  })
}

t.test('before TypeScript 5.8 a CommonJS module cannot import it with nodenext, as it is an ES module', async (t) => {
  t.strictSame(await faults('typescript50', 'commonjs'), ['TS1479'])
})
