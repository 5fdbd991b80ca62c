import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import t from 'tap'
import { RedisStore as DropIn } from '../lib/express/redis-store.ts'
import { destructuredDefaults, valueOf } from './helpers/comments.ts'
import { anchorsOf } from './helpers/pages.ts'
import { root } from './helpers/process.ts'
import { entryPoints, hoverTexts, publicNames } from './helpers/public-api.ts'

const names = publicNames(entryPoints())

t.test('everything that users see in their editor has a comment', async (t) => {
  t.ok(names.length > 300)
  const seen = new Set(names.map(({ name }) => name))
  const some = [
    'sessionPlugin', 'SessionOptions.nearCache', 'NearCacheOptions.maxStale', 'SessionManager.revokeUser',
    'InstanceDecorators.login', 'FastifyContextConfig.session'
  ]
  for (const name of some) t.ok(seen.has(name), name)
  const silent = names.filter(({ comment }) => comment === '')
  t.strictSame(silent.map(({ name, at }) => `${at} ${name}`), [])
})

t.test('a name without a comment is found, wherever it is', async (t) => {
  const found = publicNames(['lib/fixture.ts'], {
    'lib/fixture.ts': `
      import { Base, type Port } from './other.ts'
      export const shown = (options: Inline & { inline: string }): Promise<Result[]> => Promise.resolve([])
      interface Inline {
        /** Has one. */
        commented: string
      }
      interface Result { found: Port | null }
      export class Store extends Base implements Port {
        /** Has one. */
        declared = 1
        port (): void {}
        private hidden = 1
        #hidden = 1
        constructor (options: Result) { super() }
      }
      /** Has one. */
      export type Alias = { member: (of: Deep) => void }
      interface Deep { deep: Date }
      declare module 'fastify' { interface FastifyInstance { added: string } }`,
    'lib/other.ts': `
      export class Base { inherited = '' }
      export interface Port {
        /** Has one, which those who implement it inherit. */
        port (): void
        other?: never
      }`
  })
  t.strictSame(found.filter(({ comment }) => comment === '').map(({ name }) => name).sort(), [
    'Alias.member', 'Base.inherited', 'Deep.deep', 'FastifyInstance.added', 'Port.other', 'Result.found', 'Store',
    'shown', 'shown.inline'
  ])
})

/** Files whose options were held against their defaults by test/options/defaults.test.ts. */
const HELD = ['lib/options/types.ts', 'lib/http/routes/session-options.ts']

t.test('a comment that names a default names the one that the code uses', async (t) => {
  const store = new DropIn({ client: new Redis({ lazyConnect: true }) })
  t.teardown(() => store.close())
  // connect-redis has these.
  const { ttl, serializer, disableTouch, disableTTL } = store
  const inherited: Record<string, unknown> = { ttl, serializer, disableTouch, disableTTL }
  const defaults = names.flatMap(({ name, at, default: text }) => {
    const [file = ''] = at.split(':')
    return text === undefined || HELD.includes(file) ? [] : [{ option: name.split('.').at(-1) ?? '', file, text }]
  })
  t.ok(defaults.length > 8)
  for (const { option, file, text } of defaults) {
    const isInherited = file === 'lib/express/redis-store.ts' && option in inherited
    const texts = [...destructuredDefaults(`${root}${file}`).get(option) ?? []]
    const used = isInherited ? [inherited[option]] : texts.map(valueOf)
    t.strictSame(used, [valueOf(text)], `${file}: ${option}`)
  }
})

t.test('an editor shows what an option, a method or a code means', async (t) => {
  const [idle, path, verify, username, auth, login, code, recent] = hoverTexts(`
    import Fastify from 'fastify'
    import sessionPlugin, { authRoutes, sessionRoutes } from './lib/index.ts'
    import type { SessionError } from './lib/index.ts'
    const app = Fastify()
    await app.register(sessionPlugin, { secret: '', /*here*/idleTimeout: '1h', cookie: { /*here*/path: '/a' } })
    await app.register(authRoutes, { /*here*/verify: ({ /*here*/username }) => username === '' ? null : { id: 1 } })
    app.get('/', { preHandler: app.authenticate }, async (request) => request./*here*/auth)
    app.post('/', async (request) => await app./*here*/login(request, { id: 1 }))
    export const codeOf = (error: SessionError) => error./*here*/code
    await app.register(sessionRoutes, { /*here*/recentLogin: false })
  `)
  t.match(idle, /^How long a session lives without use[^]*@default '30m'\n@see OWASP ASVS 5.0 7.3.1$/)
  t.match(path, /^Path under which [^]*@default '\/'$/)
  t.match(verify, /^\*\*Required.\*\* Checks the credentials/)
  t.match(username, /^The user's name/)
  t.match(auth, /^The signed-in session, or `null`.\n@throws ERR_SESSION_STORE_UNAVAILABLE/)
  t.match(login, /^Signs `user` in/)
  t.match(code, 'The code, which names what happened.')
  t.match(recent, /^How long ago [^]*@default '10m'/)
})

t.test('a comment that names a page names one that is there, and a section that it has', async (t) => {
  const textOf = (path: string) => readFileSync(`${root}${path}`, 'utf8')
  const files = ['lib', 'types'].flatMap((folder) => readdirSync(`${root}${folder}`, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts')).map((name) => `${folder}/${name}`))
  const named = files.flatMap((file) => [...textOf(file).matchAll(/\b(docs\/[\w/-]+\.md)(?:#([\w-]+))?/g)]
    .map(([link, page = '', anchor]) => ({ file, link, page, anchor })))
  t.ok(named.length > 10)
  const broken = named.filter(({ page, anchor }) => {
    if (!existsSync(`${root}${page}`)) return true
    return anchor !== undefined && !anchorsOf(textOf(page)).has(anchor)
  })
  t.strictSame(broken.map(({ file, link }) => `${file}: ${link}`), [])
})
