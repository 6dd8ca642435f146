import type { A2aBinding, A2aSystem, A2aVersion, Operation, System } from '@sallyport/network'

export type SkillOperation = Operation & { readonly binding: A2aBinding }

/** The operations of a system that are skills: read once of each system of a declaration, which nobody changes. */
export function skillsOf(system: System): readonly SkillOperation[] {
  let skills = known.get(system)
  if (!skills) {
    skills = system.operations.flatMap((operation) => {
      const { binding } = operation
      return binding.kind === 'a2a' ? [{ ...operation, binding }] : []
    })
    known.set(system, skills)
  }
  return skills
}

const known = new WeakMap<System, readonly SkillOperation[]>()

/**
 * The card that a caller is shown: the peer's as it was reviewed, with the skills that it may reach and this gateway as the
 * place to call. It bears no signature of the peer's, which would not fit it: the certificate of this connection vouches for it.
 *
 * @param url where calls go
 */
export function ownCard(
  a2a: A2aSystem,
  skills: readonly SkillOperation[],
  url: string,
  version: A2aVersion,
): unknown {
  const { title: name, description, version: revision, streaming, push } = a2a
  const common = {
    name,
    description,
    version: revision,
    defaultInputModes: ['text/plain', 'application/json'],
    defaultOutputModes: [...new Set(skills.flatMap(({ binding }) => binding.outputModes))],
    skills: skills.map((skill) => ({
      id: skill.binding.skill,
      name: skill.binding.title,
      description: skill.description,
      tags: skill.binding.tags,
      ...(skill.binding.examples.length === 0 ? {} : { examples: skill.binding.examples }),
      inputModes: inputModes(skill),
      ...(skill.binding.outputModes.length === 0 ? {} : { outputModes: skill.binding.outputModes }),
    })),
  }
  const capabilities = { streaming, pushNotifications: push.length > 0 }
  const told = 'A certificate of the network (SPIFFE X.509-SVID).'
  return version === '1.0'
    ? {
        ...common,
        supportedInterfaces: [
          { url, protocolBinding: 'JSONRPC', protocolVersion: '1.0' },
          { url, protocolBinding: 'JSONRPC', protocolVersion: '0.3' },
        ],
        capabilities: { ...capabilities, extendedAgentCard: false },
        securitySchemes: { mtls: { mtlsSecurityScheme: { description: told } } },
        securityRequirements: [{ schemes: { mtls: {} } }],
      }
    : {
        ...common,
        protocolVersion: '0.3.0',
        url,
        preferredTransport: 'JSONRPC',
        capabilities: { ...capabilities, stateTransitionHistory: false },
        supportsAuthenticatedExtendedCard: false,
        securitySchemes: { mtls: { type: 'mutualTLS', description: told } },
        security: [{ mtls: [] }],
      }
}

function inputModes({ binding, input }: SkillOperation): string[] {
  const others = Object.keys(input.members).some((member) => member !== binding.text)
  return [
    ...(binding.text === undefined ? [] : ['text/plain']),
    ...(others || binding.text === undefined ? ['application/json'] : []),
  ]
}
