// Interfaces of browsers that TypeScript's library does not describe yet.

interface Navigator {
  readonly deviceMemory?: number;
  readonly userAgentData?: {
    readonly brands?: { brand: string; version: string }[];
    readonly mobile: boolean;
    readonly platform: string;
    getHighEntropyValues(hints: string[]): Promise<{
      fullVersionList?: { brand: string; version: string }[];
      architecture?: string;
      bitness?: string;
    }>;
  };
  readonly ml?: {
    createContext(options: { deviceType: string }): Promise<{
      opSupportLimits?(): Record<string, unknown>;
      destroy?(): void;
    }>;
  };
}

interface Performance {
  measureUserAgentSpecificMemory?(): Promise<{ bytes: number }>;
}

declare class PressureObserver {
  constructor(
    callback: (records: { state: "nominal" | "fair" | "serious" | "critical" }[]) => void,
  );
  observe(source: "cpu", options: { sampleInterval: number }): Promise<void>;
}
