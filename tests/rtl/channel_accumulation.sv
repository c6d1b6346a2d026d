// The channel-accumulation unit: one sum of matched coefficients and activations per pixel.
//
// A broadcast word is a map of LANES channels and its non-zero activations, packed. The coefficients' map and signs
// come from the slice's registers beside it. [DILUTE: a butterfly, whose controls are stored, dilutes the packed
// signs.] An inverse butterfly concentrates the codes (present, negative) under the activation's map. The codes of a
// pixel's words are joined without gaps and wait, with their activations, in a queue of QUEUE pixels; where it is full,
// the broadcast waits. The adders then take the codes in rows of ADDERS, a row a cycle; a lane whose own code is empty
// is filled from a window of LOOK_AHEAD rows beyond, at (AHEAD, ASIDE) in order of preference, and up to LOOK_AHEAD
// rows that have become empty are passed over (Bit-Tactical, ASPLOS'19). A pixel takes a cycle at least.
module channel_accumulation #(
    parameter int LANES = 64,
    parameter int WORDS = 2,                        // most words of a pixel
    parameter int ADDERS = 16,
    parameter int LOOK_AHEAD = 2,
    parameter int OFFSETS = 7,
    parameter bit [8*OFFSETS-1:0] AHEAD = '0,       // a byte each, the first lowest: rows ahead
    parameter bit [8*OFFSETS-1:0] ASIDE = '0,       // lanes aside, modulo ADDERS
    parameter int QUEUE = 4,
    parameter bit DILUTE = 0,
    parameter int RESULT = 32,
    localparam int STAGES = $clog2(LANES),
    localparam int SWITCHES = STAGES * LANES / 2,
    localparam int NEEDED = (WORDS * LANES + ADDERS - 1) / ADDERS,
    localparam int ROWS = NEEDED > LOOK_AHEAD ? NEEDED : LOOK_AHEAD + 1,
    localparam int CODES = ROWS * ADDERS,
    localparam int COUNT = $clog2(CODES + LANES + 1)
) (
    input  wire clock,
    input  wire reset,
    input  wire offered,
    input  wire last,                               // of its pixel
    input  wire [LANES-1:0] map,
    input  wire [8*LANES-1:0] values,               // packed, signed
    input  wire [LANES-1:0] coefficient_map,
    input  wire [LANES-1:0] coefficient_signs,      // packed with DILUTE, else at their channels
    input  wire [SWITCHES-1:0] coefficient_controls,
    output wire taken,
    output wire busy,
    output wire entered,                            // a pixel's last word is through the networks, and has room
    input  wire accepted,                           // the sum that ends has room behind the unit; else the adders wait
    output wire ends,                               // the sum of a pixel is made in this cycle
    output wire signed [RESULT-1:0] made,
    output reg  finished,                           // and accepted, a cycle ago
    output reg  signed [RESULT-1:0] sum
);
    localparam int BESIDE = 1 + LANES + 8 * LANES;  // what travels beside the codes: last, map, values
    wire enable;
    assign taken = enable;

    // Dilution.
    wire at_concentrator, in_diluter;
    wire [BESIDE-1:0] beside;
    wire [LANES-1:0] present, negative;
    if (DILUTE) begin : g_dilute
        wire [LANES-1:0] diluted;
        butterfly_switches #(.LANES(LANES), .WIDTH(1), .GATHER(0)) diluter (
            .payload(coefficient_signs), .mask(coefficient_map), .controls(coefficient_controls), .result(diluted)
        );
        reg valid_0;
        reg [BESIDE-1:0] beside_0;
        reg [LANES-1:0] present_0, negative_0;
        always_ff @(posedge clock) begin
            if (reset) valid_0 <= 1'b0;
            else if (enable) valid_0 <= offered;
            if (enable) begin
                beside_0 <= {last, map, values};
                present_0 <= coefficient_map;
                negative_0 <= diluted;
            end
        end
        assign at_concentrator = valid_0;
        assign in_diluter = valid_0;
        assign beside = beside_0;
        assign present = present_0;
        assign negative = negative_0;
    end else begin : g_diluted
        assign at_concentrator = offered;
        assign in_diluter = 1'b0;
        assign beside = {last, map, values};
        assign present = coefficient_map;
        assign negative = coefficient_signs;
    end

    // Concentration.
    wire concentrated;
    wire [2*LANES-1:0] paired, codes;
    reg [BESIDE-1:0] beside_1, beside_2, beside_3;
    reg [2:0] under_way;
    for (genvar lane = 0; lane < LANES; lane++) begin : g_pair
        assign paired[2*lane +: 2] = {negative[lane], present[lane]};
    end
    butterfly #(.LANES(LANES), .WIDTH(2), .GATHER(1), .PIPELINED(1)) concentrator (
        .clock(clock), .reset(reset), .enable(enable), .valid_in(at_concentrator), .payload(paired),
        .mask(beside[8*LANES +: LANES]), .valid_out(concentrated), .result(codes)
    );
    always_ff @(posedge clock) begin
        if (enable) begin
            beside_1 <= beside;
            beside_2 <= beside_1;
            beside_3 <= beside_2;
        end
        if (reset) under_way <= '0;
        else if (enable) under_way <= {under_way[1:0], at_concentrator};
    end

    // Joining a pixel's words.
    wire completes = concentrated && beside_3[BESIDE-1];
    reg [COUNT-1:0] joined;
    reg [CODES-1:0] present_joined, negative_joined;
    reg [8*CODES-1:0] values_joined;
    logic [LANES-1:0] present_word, negative_word;
    logic [COUNT-1:0] word_count;
    always_comb begin
        word_count = '0;
        for (int lane = 0; lane < LANES; lane++) begin
            present_word[lane] = codes[2*lane];
            negative_word[lane] = codes[2*lane + 1];
            word_count = word_count + COUNT'(beside_3[8*LANES + lane]);
        end
    end
    wire [CODES-1:0] present_all = present_joined | (CODES'(present_word) << joined);
    wire [CODES-1:0] negative_all = negative_joined | (CODES'(negative_word) << joined);
    wire [8*CODES-1:0] values_all = values_joined | ((8*CODES)'(beside_3[8*LANES-1:0]) << {joined, 3'b000});
    wire [COUNT-1:0] count_all = joined + word_count;
    always_ff @(posedge clock) begin
        if (reset || (enable && completes)) begin
            joined <= '0;
            present_joined <= '0;
            negative_joined <= '0;
            values_joined <= '0;
        end else if (enable && concentrated) begin
            joined <= count_all;
            present_joined <= present_all;
            negative_joined <= negative_all;
            values_joined <= values_all;
        end
    end

    // The queue; a pixel that finds it empty and the adders free passes by.
    localparam int PIXEL = COUNT + 10 * CODES;
    localparam int WAITING = $clog2(QUEUE + 1);
    wire [PIXEL-1:0] arriving = {count_all, values_all, negative_all, present_all};
    reg [PIXEL-1:0] queue [0:QUEUE-1];
    reg [WAITING-1:0] waiting;
    wire adders_free;
    wire leaves = adders_free && waiting != '0;
    wire room = waiting != WAITING'(QUEUE) || adders_free;
    assign enable = !completes || room;
    wire enters = completes && enable;
    assign entered = enters;
    wire passes_by = enters && adders_free && waiting == '0;
    wire [WAITING-1:0] behind = waiting - WAITING'(leaves);
    always_ff @(posedge clock) begin
        if (reset) waiting <= '0;
        else waiting <= behind + WAITING'(enters && !passes_by);
        for (int place = 0; place < QUEUE; place++) begin
            if (enters && behind == WAITING'(place)) queue[place] <= arriving;
            else if (leaves && place + 1 < QUEUE) queue[place] <= queue[(place + 1) % QUEUE];
        end
    end

    // The row in turn is the lowest; rows beyond the pixel's last hold no codes.
    localparam int REACH = (LOOK_AHEAD + 1) * ADDERS;
    localparam int STEP = $clog2(LOOK_AHEAD + 2);
    reg working;
    reg [COUNT-1:0] remaining;
    reg [CODES-1:0] present_work, negative_work;
    reg [8*CODES-1:0] values_work;
    wire [REACH-1:0] still;
    wire [STEP-1:0] step;
    wire [ADDERS-1:0] negative_taken;
    wire [8*ADDERS-1:0] values_taken;
    reg signed [RESULT-1:0] so_far;
    wire signed [RESULT-1:0] added;
    look_ahead_window #(
        .ADDERS(ADDERS), .LOOK_AHEAD(LOOK_AHEAD), .OFFSETS(OFFSETS), .AHEAD(AHEAD), .ASIDE(ASIDE)
    ) window (
        .present(present_work[REACH-1:0]), .negative(negative_work[REACH-1:0]), .values(values_work[8*REACH-1:0]),
        .still(still), .step(step), .negative_taken(negative_taken), .values_taken(values_taken)
    );
    signed_adders #(.ADDERS(ADDERS), .RESULT(RESULT)) adders (
        .so_far(so_far), .negative(negative_taken), .values(values_taken), .sum(added)
    );

    // On by so many rows.
    logic [COUNT-1:0] left_behind;
    logic [CODES-1:0] present_next, negative_next, present_issued;
    logic [8*CODES-1:0] values_next;
    always_comb begin
        present_issued = present_work;
        present_issued[REACH-1:0] = still;
        left_behind = '0;
        present_next = '0;
        negative_next = '0;
        values_next = '0;
        for (int k = 1; k <= LOOK_AHEAD + 1; k++) begin
            if (step == STEP'(k)) begin
                left_behind = COUNT'(k * ADDERS);
                present_next = present_issued >> (k * ADDERS);
                negative_next = negative_work >> (k * ADDERS);
                values_next = values_work >> (8 * k * ADDERS);
            end
        end
    end
    assign ends = working && remaining <= left_behind;
    assign made = added;
    assign adders_free = !working || (ends && accepted);

    // The adders' result.
    always_ff @(posedge clock) begin
        if (reset) begin
            working <= 1'b0;
            finished <= 1'b0;
        end else begin
            working <= !adders_free || leaves || passes_by;
            finished <= ends && accepted;
        end
        sum <= added;
        if (adders_free || !ends) so_far <= adders_free ? '0 : added;
        if (adders_free) begin
            {remaining, values_work, negative_work, present_work} <= leaves ? queue[0] : arriving;
        end else if (!ends) begin
            remaining <= remaining - left_behind;
            present_work <= present_next;
            negative_work <= negative_next;
            values_work <= values_next;
        end
    end
    assign busy = in_diluter || under_way != '0 || joined != '0 || waiting != '0 || working || finished;
endmodule

// The window: a lane takes its own code of the row in turn, else that which the first offset in order brings it, unless
// another lane took that before. Then it says by how many rows to go on: the row in turn and those that are empty
// after it, LOOK_AHEAD at most.
module look_ahead_window #(
    parameter int ADDERS = 16,
    parameter int LOOK_AHEAD = 2,
    parameter int OFFSETS = 7,
    parameter bit [8*OFFSETS-1:0] AHEAD = '0,
    parameter bit [8*OFFSETS-1:0] ASIDE = '0,
    localparam int REACH = (LOOK_AHEAD + 1) * ADDERS,
    localparam int STEP = $clog2(LOOK_AHEAD + 2)
) (
    input  wire [REACH-1:0] present,
    input  wire [REACH-1:0] negative,
    input  wire [8*REACH-1:0] values,
    output logic [REACH-1:0] still,                 // codes that are left
    output logic [STEP-1:0] step,
    output logic [ADDERS-1:0] negative_taken,
    output logic [8*ADDERS-1:0] values_taken        // 0 where a lane takes none
);
    // The code that offset o brings to a lane.
    function automatic integer source(input integer o, input integer lane);
        source = 32'(AHEAD[8*o +: 8]) * ADDERS + (lane + 32'(ASIDE[8*o +: 8])) % ADDERS;
    endfunction
    logic [ADDERS-1:0] filled;
    always_comb begin
        still = {present[REACH-1:ADDERS], {ADDERS{1'b0}}};
        filled = present[ADDERS-1:0];
        negative_taken = negative[ADDERS-1:0];
        for (int lane = 0; lane < ADDERS; lane++)
            values_taken[8*lane +: 8] = present[lane] ? values[8*lane +: 8] : 8'd0;
        for (int o = 0; o < OFFSETS; o++) begin
            for (int lane = 0; lane < ADDERS; lane++) begin
                if (!filled[lane] && still[source(o, lane)]) begin
                    filled[lane] = 1'b1;
                    still[source(o, lane)] = 1'b0;
                    negative_taken[lane] = negative[source(o, lane)];
                    values_taken[8*lane +: 8] = values[8*source(o, lane) +: 8];
                end
            end
        end
        step = STEP'(1);
        for (int k = 1; k <= LOOK_AHEAD; k++) begin
            if (step == STEP'(k) && still[k*ADDERS +: ADDERS] == '0) step = STEP'(k + 1);
        end
    end
endmodule

// A sum and all values, each added or subtracted: complemented, and one more for each.
module signed_adders #(
    parameter int ADDERS = 16,
    parameter int RESULT = 32,
    localparam int TOTAL = 9 + $clog2(ADDERS)
) (
    input  wire signed [RESULT-1:0] so_far,
    input  wire [ADDERS-1:0] negative,
    input  wire [8*ADDERS-1:0] values,
    output wire signed [RESULT-1:0] sum
);
    logic signed [TOTAL-1:0] total;
    always_comb begin
        total = '0;
        for (int lane = 0; lane < ADDERS; lane++) begin
            total = total + TOTAL'(signed'(values[8*lane +: 8] ^ {8{negative[lane]}}))
                + signed'(TOTAL'(negative[lane]));
        end
    end
    assign sum = so_far + RESULT'(total);
endmodule
