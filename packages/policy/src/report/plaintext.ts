import { plainUpstreams, readYaml } from '@sallyport/network'
import type { Network } from '@sallyport/network'
import type { Finding } from './findings.ts'

/**
 * Systems of a declaration that gateways speak to in plain TCP, each a warning where its address stands.
 *
 * @param text of `network.yaml`, from which the network was read
 * @param file the name that spans carry
 */
export function plaintextFindings(network: Network, text: string, file: string): Finding[] {
  const { located } = readYaml(text, file)
  return plainUpstreams(network).map(({ system, url, plaintext }) => ({
    code: 'SP_NETWORK_PLAINTEXT',
    level: 'warning',
    message: `\`${system}\` is not authenticated: whoever is at ${url} is taken for it, and whoever is on the way reads and changes what passes; the reason given: ${plaintext}`,
    // Names of systems need no escaping in a pointer.
    span: located?.at(`/systems/${system}/upstream/url`) ?? { file, line: 1, column: 1 },
  }))
}
