import type { FastifyInstance, FastifyServerOptions } from 'fastify'

/** What the application's server was made with, of which Fastify has no public place; `undefined` where it is not found. */
export function serverOptionsOf (app: FastifyInstance): Pick<FastifyServerOptions, 'trustProxy' | 'ajv' | 'serializerOpts' | 'schemaController'> | undefined {
  for (let each: object | null = app; each !== null; each = Object.getPrototypeOf(each) as object | null) {
    const options = Object.getOwnPropertySymbols(each).find(({ description }) => description === 'fastify.options')
    // What is under it is Fastify's own affair.
    if (options !== undefined) return (each as Record<symbol, FastifyServerOptions | undefined>)[options]
  }
  return undefined
}
