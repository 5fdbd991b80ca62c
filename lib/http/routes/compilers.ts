import { Type } from '@sinclair/typebox'
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import { serverOptionsOf } from '../boot-checks.ts'

/**
 * Has the routes of a scope checked and serialized as Fastify itself does, with the options of the application's server
 * and the schemas it has added. What the application has set in place of that may know zod's schemas only.
 */
export async function useOwnCompilers (scope: FastifyInstance): Promise<void> {
  const { ajv: { mode, ...ajv } = {}, serializerOpts, schemaController } = serverOptionsOf(scope) ?? {}
  // Fastify's own are there once they are needed, at the end of the boot.
  const isReplaced = scope.validatorCompiler !== undefined || scope.serializerCompiler !== undefined
  if (!isReplaced && schemaController?.compilersFactory === undefined && mode !== 'JTD') return
  const server = Fastify({ ajv, ...serializerOpts !== undefined && { serializerOpts } })
  for (const schema of Object.values(scope.getSchemas())) server.addSchema(schema)
  server.post('/', { schema: { body: Type.Object({}), response: { 200: Type.Object({}) } } }, async () => ({}))
  await server.ready()
  if (server.validatorCompiler !== undefined) scope.setValidatorCompiler(server.validatorCompiler)
  if (server.serializerCompiler !== undefined) scope.setSerializerCompiler(server.serializerCompiler)
  await server.close()
}
