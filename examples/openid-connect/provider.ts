// A provider to try the example with: a real one, oidc-provider, with its pages for development. Any password will do.
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Provider from 'oidc-provider'

interface Options {
  /** Where the application is. */
  appUrl: string
  port?: number
  clientId?: string
  clientSecret?: string
}

export interface RunningProvider { issuer: string, provider: Provider, close: () => Promise<void> }

export async function startProvider (options: Options): Promise<RunningProvider> {
  const { appUrl, port = 0, clientId = 'example', clientSecret = 'a secret of development only' } = options
  // The port is part of the issuer, so it has to be known first.
  const server = createServer().listen(port, '127.0.0.1')
  await once(server, 'listening')
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const provider = new Provider(issuer, {
    clients: [{
      client_id: clientId,
      client_secret: clientSecret,
      redirect_uris: [`${appUrl}/callback`],
      post_logout_redirect_uris: [`${appUrl}/`],
      backchannel_logout_uri: `${appUrl}/backchannel-logout`,
      // ID tokens and logout tokens have a sid.
      backchannel_logout_session_required: true
    }],
    features: { backchannelLogout: { enabled: true } },
    // Its own dispatcher calls no address of this machine, and here the application is one.
    fetch: async (url: string, { dispatcher: _own, ...init }: RequestInit & { dispatcher?: unknown }) => {
      return await fetch(url, init)
    },
    findAccount: async (_context: unknown, id: string) => ({ accountId: id, claims: async () => ({ sub: id }) })
  })
  server.on('request', provider.callback())
  const close = async (): Promise<void> => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  }
  return { issuer, provider, close }
}

if (process.argv[1] === import.meta.filename) {
  const { APP_URL: appUrl = 'http://127.0.0.1:3000', PORT = '3001' } = process.env
  const { issuer } = await startProvider({ appUrl, port: Number(PORT) })
  console.log(`Provider at ${issuer}`)
}
