import { connect, disconnect, isCluster } from '../../redis/connection.ts'
import type { Client } from '../../redis/connection.ts'
import { infoField } from '../../redis/suitability.ts'
import { finding, ok, refused, short } from './findings.ts'
import type { Finding, Server } from './findings.ts'
import { settingOf } from './server.ts'
import { LOOK_AGAIN_MS, NOTICED_WITHIN_MS, OPERATOR_WAIT_MS } from '../../util/timings.ts'

const SLOTS = 16_384

/** How the servers stand together: a Cluster, or Sentinels. `masters`: those that are connected, by their names. */
export async function topologyFindings (
  client: Client, masters: ReadonlyArray<[name: string, server: Server]>
): Promise<Finding[]> {
  if (isCluster(client)) return await clusterFindings(client.slots, masters)
  if (client.options.sentinels != null) return await sentinelFindings(client)
  return await singleFindings(client)
}

/** One server: whether it is a node of a Cluster, which holds but a part of the sessions. */
async function singleFindings (server: Server): Promise<Finding[]> {
  const info = await server.info('server').catch((error: unknown) => {
    refused('topology', 'INFO', error)
    return ''
  })
  if (infoField(info, 'redis_mode') !== 'cluster') return []
  return [finding('problem', 'topology', 'this is a node of a Cluster, asked as if it were alone: most sessions are ' +
    'elsewhere, and it refuses them', 'Give the application { cluster: [...] }, and the doctor --cluster')]
}

async function clusterFindings (
  slots: readonly string[][], masters: ReadonlyArray<[name: string, server: Server]>
): Promise<Finding[]> {
  const [, first] = masters[0] ?? []
  if (first === undefined) return []
  let info: string
  try {
    info = String(await first.call('CLUSTER', 'INFO'))
  } catch (error) {
    return [refused('Cluster', 'CLUSTER INFO', error)]
  }
  const findings: Finding[] = []
  const state = infoField(info, 'cluster_state') ?? 'not known'
  const served = Number(infoField(info, 'cluster_slots_ok') ?? SLOTS)
  const owners = new Set(slots.flatMap((slot) => slot?.[0] ?? []))
  if (state !== 'ok' || served < SLOTS) {
    findings.push(finding('problem', 'Cluster', `the Cluster's state is ${short(state)}, and ${SLOTS - served} of ` +
      `${SLOTS} slots are not served: requests for the sessions in them are answered 503`,
    'Start the nodes that are down, or see redis-cli --cluster check and --cluster fix'))
  }
  for (const name of owners) {
    if (masters.some(([each]) => each === name)) continue
    findings.push(finding('problem', 'Cluster', `the master ${short(name)} is not connected`,
      'See whether it runs, and whether its address can be reached from here'))
  }
  const timeoutMs = Number(await settingOf(first, 'cluster-node-timeout') ?? 0)
  if (timeoutMs > NOTICED_WITHIN_MS) findings.push(late('cluster-node-timeout', timeoutMs))
  return findings.length > 0 ? findings : [ok('Cluster', `its state is ok: ${owners.size} masters serve all slots`)]
}

/** Finding that a dead master is noticed late. */
function late (setting: string, ms: number): Finding {
  return finding('warning', 'failover', `${setting} is ${ms} ms: while a dead master is not noticed, nobody can ` +
    'sign in or out', 'Set it to one or two seconds')
}

/** Asks every Sentinel that the connection knows. */
async function sentinelFindings (client: Server): Promise<Finding[]> {
  const { sentinels, name = 'mymaster', sentinelUsername, sentinelPassword, sentinelTLS } = client.options
  const views = await Promise.all((sentinels ?? []).map(async ({ host, port }) => {
    const options = { host: host ?? 'localhost', port: port ?? 26_379 }
    const { client: sentinel } = connect({
      ...options,
      ...sentinelUsername != null && { username: sentinelUsername },
      ...sentinelPassword != null && { password: sentinelPassword },
      ...sentinelTLS != null && { tls: sentinelTLS }
    })
    try {
      const answer = await answerOf(sentinel as Server, name)
      return { at: `${options.host}:${options.port}`, answer }
    } finally {
      await disconnect(sentinel)
    }
  }))
  return judgedViews(views, name)
}

/** What a Sentinel says of a master, or why it does not. */
type View = Record<string, string> | string

async function answerOf (sentinel: Server, name: string): Promise<View> {
  const giveUpAt = performance.now() + OPERATOR_WAIT_MS
  for (;;) {
    try {
      // It is not connected yet.
      return pairs(await sentinel.call('SENTINEL', 'MASTER', name))
    } catch (error) {
      const { message } = error as Error
      const isConnecting = sentinel.status !== 'ready' || /enableOfflineQueue/.test(message)
      if (!isConnecting || performance.now() > giveUpAt) return short(message)
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS))
    }
  }
}

function pairs (answer: unknown): Record<string, string> {
  // A list in RESP2, a map in RESP3.
  const entries: Array<[unknown, unknown]> = Array.isArray(answer)
    ? answer.flatMap((key, index) => index % 2 === 0 ? [[key, answer[index + 1]]] : [])
    : Object.entries(Object(answer))
  return Object.fromEntries(entries.map(([key, value]) => [String(key), String(value)]))
}

function judgedViews (views: Array<{ at: string, answer: View }>, name: string): Finding[] {
  const known = views.flatMap(({ at, answer }) => typeof answer === 'string' ? [] : [{ at, answer }])
  const findings = views.flatMap(({ at, answer }) => {
    if (typeof answer !== 'string') return []
    return [finding('warning', 'Sentinel', `the Sentinel ${at} does not tell of ${short(name)}: ${answer}`,
      'See whether it runs. Without a majority of Sentinels no replica takes over')]
  })
  const masters = new Set(known.map(({ answer }) => `${answer.ip}:${answer.port}`))
  if (masters.size > 1) {
    const names = short([...masters].join(', '))
    findings.push(finding('problem', 'Sentinel', `the Sentinels name different masters: ${names}`,
      'Wait until a failover is over. If it stays so, they cannot reach each other'))
  }
  for (const { at, answer } of known) findings.push(...judgedView(at, answer))
  if (findings.length > 0 || known.length === 0) return findings
  return [ok('Sentinel', `${known.length} Sentinels agree on the master ${short([...masters].join())}`)]
}

function judgedView (at: string, answer: Record<string, string>): Finding[] {
  const findings: Finding[] = []
  const [quorum, others, replicas] = ['quorum', 'num-other-sentinels', 'num-slaves'].map((key) => Number(answer[key]))
  if (answer.flags !== 'master') {
    findings.push(finding('problem', 'Sentinel', `${at} takes the master for ${short(String(answer.flags))}`,
      'See whether the master runs, and whether the Sentinels reach it'))
  }
  if (Number(others) + 1 < Math.max(Number(quorum), 3)) {
    findings.push(finding('warning', 'Sentinel', `${at} knows ${others} other Sentinels, with a quorum of ${quorum}: ` +
      'when one is lost, no replica takes over', 'Run three or more, on three machines'))
  }
  if (replicas === 0) {
    findings.push(finding('warning', 'Sentinel', `${at} knows no replica that could take over`, 'Start one'))
  }
  const downAfterMs = Number(answer['down-after-milliseconds'])
  if (downAfterMs > NOTICED_WITHIN_MS) findings.push(late(`down-after-milliseconds of ${at}`, downAfterMs))
  return findings
}
