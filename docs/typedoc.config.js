import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Converter, ReflectionKind } from 'typedoc'

/*
 * The API reference, made from the doc comments of everything that is exported. It goes into the site that VitePress has
 * built: `npm run docs:build`.
 */

const base = process.env.DOCS_BASE ?? '/'

/** @type {import('typedoc').TypeDocOptions} */
export default {
  name: 'fastify-user-sessions',
  entryPoints: ['../lib/index.ts', '../lib/express/redis-store.ts', '../lib/testing/index.ts', '../lib/metrics/index.ts'],
  tsconfig: '../tsconfig.json',
  // `npm run build` says what is wrong with the types.
  skipErrorChecking: true,
  out: '.vitepress/dist/api',
  plugin: [linkPages, nameEntryPoints],
  readme: 'none',
  favicon: 'public/icon.svg',
  excludePrivate: true,
  excludeInternal: true,
  // What RedisStore inherits of EventEmitter.
  excludeExternals: true,
  disableSources: true,
  hideGenerator: true,
  navigationLinks: { Guides: base },
  validation: { notExported: true, invalidLink: true, invalidPath: false, rewrittenLink: true, notDocumented: false },
  treatWarningsAsErrors: true,
  treatValidationWarningsAsErrors: true,
  // Parts of exported types, which nobody needs by name.
  intentionallyNotExported: [
    'lib/errors.ts:errors',
    'lib/http/context.ts:AnyReply',
    'lib/http/context.ts:AnyRequest',
    'lib/http/routes/admin-options.ts:ActorName',
    'lib/http/routes/auth-options.ts:Awaitable',
    'lib/http/routes/auth-options.ts:CredentialsSchema',
    'lib/http/routes/auth-options.ts:Shown',
    'lib/http/routes/auth-options.ts:WithPrefix',
    'lib/http/routes/auth-options.ts:WithSchemas',
    'lib/http/routes/schemas.ts:DefaultCredentials',
    'lib/http/routes/standard-schema.ts:StandardSchema',
    'lib/http/session-data.ts:DeclaredData',
    'lib/metrics/collect.ts:AnyRegistry',
    'lib/redis/attempts.ts:RedisAttempts',
    'lib/redis/ends.ts:Ends',
    'lib/redis/health.ts:StoreEmitter',
    'lib/redis/target.ts:ClientLike',
    'lib/redis/target.ts:RedisTarget',
    'lib/redis/tracking.ts:Tracking',
    'lib/session/manager.ts:SessionManager',
    'lib/session/store.ts:Adoption',
    'lib/store/memory-attempts.ts:MemoryAttempts'
  ]
}

/** Makes links of doc comments to `docs/….md` lead to the page of the site. */
function linkPages (app) {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const { comment } of Object.values(project.reflections)) {
      for (const part of [comment?.summary, ...comment?.blockTags.map(({ content }) => content) ?? []].flat()) {
        if (part?.kind !== 'relative-link') continue
        const [file, anchor] = part.text.split('#')
        if (!existsSync(fileURLToPath(new URL(`../${file}`, import.meta.url)))) throw new Error(`a comment links to ${file}, which does not exist`)
        part.kind = 'text'
        part.text = `${base}${file.replace(/^docs\//, '').replace(/\.md$/, '.html')}${anchor === undefined ? '' : `#${anchor}`}`
      }
    }
  })
}

/** Calls the entry points as they are imported. */
function nameEntryPoints (app) {
  const names = {
    index: 'fastify-user-sessions',
    'express/redis-store': 'fastify-user-sessions/express',
    testing: 'fastify-user-sessions/testing',
    metrics: 'fastify-user-sessions/metrics'
  }
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    for (const module of project.getReflectionsByKind(ReflectionKind.Module)) module.name = names[module.name]
  })
}
