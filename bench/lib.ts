import { existsSync } from 'node:fs'

/*
 * This package as its users run it: compiled (npm run bench:build). What tsx makes of lib gives every closure its
 * name anew, which users do not pay for.
 */
const built = new URL('../.tmp/bench/lib/', import.meta.url)

export const lib = await import(new URL('index.js', built).href) as typeof import('../lib/index.ts')

/** `fastify-user-sessions/metrics`; `null` where this version has none. */
export async function metricsOf (): Promise<typeof import('../lib/metrics/index.ts') | null> {
  const file = new URL('metrics/index.js', built)
  return existsSync(file) ? await import(file.href) as typeof import('../lib/metrics/index.ts') : null
}

/** Whether `sessionPlugin` has this option. */
export async function hasOption (name: string): Promise<boolean> {
  const { SessionOptionsSchema } = await import(new URL('options/schema.js', built).href) as typeof import('../lib/options/schema.ts')
  return name in SessionOptionsSchema.properties
}
