import fastifyCookie from '@fastify/cookie'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import { assertFree, assertRouteConfig, claim, proxyWarnings } from './http/boot-checks.ts'
import type { PluginContext } from './http/context.ts'
import { devicePath } from './http/device-asking.ts'
import { addDecorators } from './http/decorators.ts'
import { addHooks } from './http/hooks.ts'
import { pathSignature } from './http/return-path.ts'
import { addDeviceRoutes } from './http/routes/device.ts'
import { sessionObjects } from './http/session-object.ts'
import { deviceBinding } from './device/binding.ts'
import { ForkDetection } from './device/forks.ts'
import { layoutOf } from './options/layout.ts'
import type { SessionOptions } from './options/types.ts'
import { resolveOptions } from './options/resolve.ts'
import { SessionCore } from './session/core.ts'
import { SessionManager } from './session/manager.ts'
import { keepSecurityLog } from './session/security-log.ts'
import { logStoreEvents } from './store/log.ts'
import { countersOf, openStore } from './store/open.ts'

/**
 * Signs users in, keeps them signed in, and signs them out for real.
 * `await app.register(sessionPlugin, { secret, redis })`: the decorators exist from then on.
 * @throws ERR_SESSION_INVALID_OPTIONS that names all wrong options
 */
export const sessionPlugin = fp(async (app: FastifyInstance, input: SessionOptions) => {
  const options = resolveOptions(input)
  assertFree(app, options.decorators)
  const layout = await layoutOf(options)
  const { store, near, ready, backend, close } = openStore({ ...options, ...layout })
  const device = deviceBinding(options)
  const { forkDetection, secrets, cookieNames } = options
  const core = new SessionCore({ ...options, ...layout, store, near, device, counters: countersOf(store) })
  keepSecurityLog(core.events, options, app.log)
  const context: PluginContext = {
    options,
    core,
    sessions: new SessionManager(core),
    log: app.log,
    device: device === null ? null : { binding: device, path: devicePath(app.prefix, options) },
    forks: forkDetection === null ? null : new ForkDetection(forkDetection, secrets, cookieNames),
    pathSignature: pathSignature(options),
    build: () => { throw new Error('the plugin is not ready yet') },
    warned: new Set()
  }
  let unwatch = (): void => {}
  const end = async (): Promise<void> => {
    unwatch()
    await core.close()
    await close()
  }
  app.addHook('onClose', end)
  try {
    const warnings = await ready()
    // What kept Redis from answering at boot is among them.
    unwatch = logStoreEvents(app.log, store)
    const meetings = claim(app, options, backend())
    for (const { message, ...details } of [...options.warnings, ...warnings, ...meetings, ...proxyWarnings(app)]) {
      app.log.warn(details, message)
    }

    if (!app.hasPlugin('@fastify/cookie')) await app.register(fastifyCookie)
    context.build = await sessionObjects(app, context)
    addDecorators(app, context)
    addHooks(app, context)
    app.addHook('onRoute', assertRouteConfig)
    addDeviceRoutes(app, context)
  } catch (error) {
    // An application that does not start may never be closed.
    await end()
    throw error
  }
}, { name: 'fastify-user-sessions', fastify: '5.x' })
